"""The worst pause of a stream while a hostile request is read, served or refused next to it.

python services/engine/benchmarks/stalls.py [--model models/main] [--rounds 3]

Each row is the best of the rounds, so that what others do on the machine counts as little as possible, and next to it
the same for as long a time without the request. Prints a table and a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass

from llm_engine.testing.hostile import Stream, hostile_requests, send, steady_stream


@dataclass
class Row:
    name: str
    status: int
    seconds: float
    gap: float
    gap_alone: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/main")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "llm_engine", "serve", arguments.model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = re.search(r"http://\S+", server.stderr.readline())
            assert url is not None, "the server did not start"
            rows = run(url[0], arguments.rounds, arguments.only)
        finally:
            server.kill()
    worst = max(rows, key=lambda row: row.gap)
    print(json.dumps({"model": arguments.model, "worst_gap_ms": round(worst.gap * 1000, 1), "row": worst.name}))


def run(url: str, rounds: int, only: str) -> list[Row]:
    rows = []
    print(f"{'request':40}{'status':>8}{'took':>10}{'worst gap':>12}{'without':>12}")
    with steady_stream(url) as stream:
        until_it_streams(stream)
        send(url, "/tokenize", json.dumps({"prompt": "a " * 5000}).encode())  # the process that reads is there now
        for name, (path, body) in hostile_requests().items():
            if only in name:
                row = min((measure(url, stream, name, path, body=body) for _ in range(rounds)), key=lambda row: row.gap)
                print(
                    f"{row.name:40}{row.status:8}{row.seconds * 1e3:7.0f} ms"
                    f"{row.gap * 1e3:9.1f} ms{row.gap_alone * 1e3:9.1f} ms",
                    flush=True,
                )
                rows.append(row)
    return rows


def until_it_streams(stream: Stream) -> None:
    while len(stream.times) < 20:
        time.sleep(0.01)


def measure(url: str, stream: Stream, name: str, path: str, *, body: bytes) -> Row:
    begin = time.monotonic()
    status, _ = send(url, path, body)
    end = time.monotonic()
    time.sleep(max(0.2, min(end - begin, 2.0)))
    alone = stream.worst_gap(end, time.monotonic())
    return Row(name, status, end - begin, stream.worst_gap(begin, end), alone)


if __name__ == "__main__":
    main()
