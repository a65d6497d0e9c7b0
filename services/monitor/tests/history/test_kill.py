"""A process that writes the history is killed with SIGKILL; another one opens the file."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support_history import BEGIN, World, read

WRITER = """
import sys
from pathlib import Path
from tests.support_history import World
world = World(Path(sys.argv[1]))
while True:
    world.run(1, lambda time: {"x": time, "steady": 1.0, "x_total": time // 7} if time % 50 < 45 else None)
    print(world.now, flush=True)
"""


@pytest.mark.parametrize("seconds", [3, 17, 45, 64, 130])
def test_nothing_is_lost_but_the_gap(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "history.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for _ in range(seconds):
            written = float(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
    written = max([written, *(float(line) for line in process.stdout.read().split())])
    process.stdout.close()

    world = World(path)
    world.now = written + 300
    world.run(40, lambda time: {"x": time, "steady": 1.0})

    points = read(world.storage, "steady", BEGIN)
    times = [time for time, value in points if value is not None]
    resumed = written + 300 - BEGIN
    last = max(time for time in times if time < resumed)
    expected = written - BEGIN
    assert last >= min(expected, expected // 50 * 50 + 45 - 0.25) - 0.001, "all that was said to be written is there"
    assert min(time for time in times if time > last) == pytest.approx(resumed, abs=15)
    assert any(value is None and last < time <= last + 5 for time, value in points), "the gap is shown"
    assert all(b - a <= 20 for a, b in pairwise(time for time in times if time <= last))
    assert all(value in (None, time) for time, value in read(world.storage, "x", BEGIN))
