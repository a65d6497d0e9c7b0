"""Fault injection: kill a rank of a running server and watch how the others end.

    python -m llm_engine.testing.rank_death --times 20 models/zoo/llama --tensor-parallel-size 2

starts the server 20 times, kills another rank each time while requests run, and prints for each how long the server
lived on, its exit status, what it said, and which processes it left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

START_SECONDS = 120.0
MOST_SECONDS = 5.0
"""Longest time that the server may live on."""
STREAMS = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a server one of whose ranks was killed."""

    rank: int
    seconds: float
    """Time from the kill to the server's end."""
    status: int
    said: str
    """The line in which the server names the cause; empty if there is none."""
    left: list[int]
    """Processes of the server that still run."""

    @property
    def is_good(self) -> bool:
        named = self.rank == 0 or f"rank {self.rank} " in self.said
        return self.status != 0 and self.seconds <= MOST_SECONDS and named and not self.left


def kill(model: str, rank: int, options: Sequence[str] = (), killed_by: int = signal.SIGKILL) -> Outcome:
    """Start a server, end one of its ranks under load, and return what followed. Rank 0 is the server itself."""
    command = (sys.executable, "-m", "llm_engine", "serve", model, "--port", "0", *options)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    lines: list[str] = []
    try:
        url = _address(server, lines)
        ranks = {0: server.pid, **_ranks(server.pid)}
        if rank not in ranks:
            raise SystemExit(f"the server has no rank {rank}; give it --tensor-parallel-size 2")
        processes = [*ranks.values(), *_children(server.pid)]
        for _ in range(STREAMS):
            threading.Thread(target=_stream, args=(url,), daemon=True).start()
        _wait_for_tokens(url)
        os.kill(ranks[rank], killed_by)
        begun = time.monotonic()
        status = server.wait(10 * MOST_SECONDS)
        seconds = time.monotonic() - begun
        deadline = begun + MOST_SECONDS
        while (left := [pid for pid in processes if _runs(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        said = next((line.strip() for line in lines if "because" in line), "")
        return Outcome(rank, round(seconds, 2), status, said, left)
    finally:
        server.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("model")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of the server")
    arguments = parser.parse_args()
    bad = 0
    for number in range(arguments.times):
        # The ranks in turn, from the last one on: two are enough for most models.
        outcome = kill(arguments.model, (number + 1) % 2, arguments.options)
        bad += not outcome.is_good
        print(json.dumps({**asdict(outcome), "good": outcome.is_good}), flush=True)
    print(f"{arguments.times - bad} of {arguments.times} as they should")
    return 1 if bad else 0


def _address(server: subprocess.Popen[str], lines: list[str]) -> str:
    """Return the server's URL once it is ready. Its output goes on to `lines`."""
    ready = threading.Event()
    found: list[str] = []

    def read() -> None:
        assert server.stdout is not None
        for line in server.stdout:
            lines.append(line)
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                found.append(match[0])
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    if not ready.wait(START_SECONDS) or not found:
        raise RuntimeError("the server did not start:\n" + "".join(lines))
    return found[0]


def _stream(url: str) -> None:
    """Stream completions until the server ends."""
    with suppress(OSError, ValueError):
        body = {"model": _model(url), "prompt": [5, 6, 7], "max_tokens": 200, "ignore_eos": True, "stream": True}
        while True:
            request = urllib.request.Request(
                f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
                for _ in response:
                    pass


def _model(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=START_SECONDS) as response:
        return str(json.load(response)["data"][0]["id"])


def _wait_for_tokens(url: str) -> None:
    """Wait until the requests have got some tokens, so that the rank dies within a step."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/metrics", timeout=START_SECONDS) as response:
            counts = re.findall(r"^vllm:generation_tokens_total\S* (\S+)$", response.read().decode(), re.MULTILINE)
        if counts and sum(map(float, counts)) > 100:
            return
        time.sleep(0.05)
    raise RuntimeError("the server generated nothing")


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _ranks(pid: int) -> dict[int, int]:
    """Return the processes of the ranks from 1 on: those that multiprocessing has spawned, in order."""
    spawned = [each for each in _children(pid) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return dict(enumerate(sorted(spawned), 1))


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    return False


if __name__ == "__main__":
    sys.exit(main())
