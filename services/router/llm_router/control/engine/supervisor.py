"""The process between a replica and its engine: it ends the engine, with all its descendants, when the replica ends.

    python -I -S supervisor.py STATUS_FD engine-program argument...

A pipe from the replica is its standard input: end of file means that the replica is gone, however it ended. The
supervisor detaches, because Ray kills the direct children of a worker that exits. It is a subreaper, so engine
processes whose parent died (vLLM's EngineCore after a SIGKILL of its API server) become its children and die too.
It writes `pid N` and, at the end, `exit N` to STATUS_FD. It imports the standard library alone, to stay small.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_STARTED = 127


def main() -> None:
    status = int(sys.argv[1])
    command = sys.argv[2:]
    if os.fork():
        os._exit(0)
    os.setsid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(status, False)
    supervisor = os.getpid()
    started, starting = os.pipe()
    engine = os.fork()
    if engine == 0:
        _become_the_engine(command, supervisor, prctl)
    os.close(starting)
    os.read(started, 1)  # exec closes the other end
    _say(status, f"pid {engine}")
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    _wait_for_either(engine)
    code = _end_all(engine)
    _say(status, f"exit {code}")


def _become_the_engine(command: "list[str]", supervisor: int, prctl: "Callable[..., int]") -> None:
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(NOT_STARTED)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _say(status: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(status, f"{line}\n".encode())


def _wait_for_either(engine: int) -> None:
    """Return when the engine has ended or the replica's pipe is closed."""
    ended = os.pidfd_open(engine)
    select.select([ended, 0], [], [])
    os.close(ended)


def _end_all(engine: int) -> int:
    """Kill every descendant and return the engine's exit code, minus the signal's number if one ended it."""
    code = 0
    while True:
        children = _children()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            pid, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            return code
        if pid == engine:
            code = os.waitstatus_to_exitcode(ended)


def _children() -> "list[int]":
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return _children_by_scan()


def _children_by_scan() -> "list[int]":
    own = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == own:
                        found.append(int(name))
            except OSError:
                continue
    return found


if __name__ == "__main__":
    main()
