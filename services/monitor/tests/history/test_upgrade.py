"""A history that an earlier version wrote opens, with every sample in it, and goes on.

history-1.sql is a history of version 1 as text. A new version adds its own file and keeps the older ones:

    cd services/monitor && python tests/history/test_upgrade.py > tests/history/history-NUMBER.sql
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from tests.support_history import BEGIN, World, read

from llm_monitor.history.database import VERSION

FILES = sorted(Path(__file__).parent.glob("history-*.sql"))
SECONDS = 120


def values(time: float) -> dict[str, float]:
    return {"gauge": float(int(time) % 7), "requests_total": time // 3}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_history_of_each_version_opens_and_goes_on(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(file.read_text())
    connection.close()

    world = World(path)
    world.now = BEGIN + SECONDS
    old = read(world.storage, "requests_total", BEGIN)
    assert len(old) >= 30
    assert all(value == values(time)["requests_total"] for time, value in old)

    world.run(60, values)
    assert read(world.storage, "gauge", BEGIN + SECONDS)[-1] == (SECONDS + 60, values(SECONDS + 60)["gauge"])
    assert world.history.error == ""


def test_the_version_of_today_has_its_file() -> None:
    assert f"history-{VERSION}" in {file.stem for file in FILES}


def _written() -> str:
    """Return a history of this version as text."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "history.db")
        world.run(SECONDS, values)
        world.store.close()
        with sqlite3.connect(Path(folder) / "history.db") as connection:
            kept = ("application_id", "user_version")
            numbers = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in kept}
            return "\n".join([*connection.iterdump(), *(f"PRAGMA {name} = {n};" for name, n in numbers.items())])


if __name__ == "__main__":
    print(_written())
