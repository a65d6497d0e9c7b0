"""The inside of the sandbox: give up what a program could do harm with, then run it.

    python -I -S -B candidate.py SECONDS MEMORY_BYTES < PROGRAM

The kernel holds the limits of memory, time, files and, where it lets a process have one, the empty network. An audit
hook refuses the rest: sockets, processes, and every change of a file. The word of success comes on standard output and
is read from the first line of the input, so a program that ends early, by whatever call, has not passed.

It uses the standard library alone, since it runs without the environment's packages.
"""

import ctypes
import os
import resource
import sys

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
FILE_BYTES = 1 << 20
OPEN_FILES = 32
REFUSED = ("socket.", "subprocess.", "ctypes.", "shutil.", "ftplib.", "http.", "urllib.", "smtplib.", "pty.", "syslog.")
READS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    word, _, program = sys.stdin.read().partition("\n")
    limit(int(sys.argv[1]), int(sys.argv[2]))
    answer = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    leave_network()
    code = compile(program, "candidate", "exec")
    sys.addaudithook(refuse)
    exec(code, {"__name__": "__main__"})  # noqa: S102  the purpose of this file
    os.write(answer, word.encode())


def limit(seconds: int, memory: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def leave_network() -> None:
    """Move into a network without interfaces, where the kernel allows that."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET)


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        flags = arguments[2]
        if isinstance(flags, int) and flags & WRITING:
            raise PermissionError("a candidate writes no files")
    elif event.startswith(REFUSED) or (event.startswith("os.") and event not in READS):
        raise PermissionError(f"a candidate does not call {event}")


if __name__ == "__main__":
    main()
