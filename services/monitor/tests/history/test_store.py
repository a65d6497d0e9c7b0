"""The history over hours, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support_exporter import until
from tests.support_history import BEGIN, LEVELS, World, page, read

from llm_monitor.history.database import HistoryError
from llm_monitor.history.store import Store
from llm_monitor.history.writer import History
from llm_monitor.series import Head, Matcher


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "history.db")


def wave(time: float) -> dict[str, float]:
    return {"gauge": 100.0 if time == 333.25 else math.sin(time / 20), "requests_total": time // 3, "constant": 7.0}


def test_each_level_keeps_its_resolution_for_its_time(world: World) -> None:
    world.run(2000, wave)
    store, now = world.store, 2000
    for level, spec in enumerate(LEVELS):
        times = [time for time, _ in read(_At(store, level), "constant")]
        steps = {round(after - before, 3) for before, after in pairwise(times)}
        assert steps == {spec.step / 1000}
        assert now - times[0] == pytest.approx(spec.keep / 1000, abs=3 * spec.span / 1000)
        assert now - times[-1] <= 2 * spec.span / 1000 + 15


def test_a_range_is_read_from_all_levels_and_the_head_without_a_hole_or_an_overlap(world: World) -> None:
    world.run(1000, wave)
    for start in (0, 100, 699.75, 700, 800, 941, 955, 969, 970, 990, 999):
        points = read(world.storage, "requests_total", BEGIN + start)
        times = [time for time, _ in points]
        assert times == sorted(set(times))
        assert times[-1] == 1000
        assert times[0] - start <= 15
        assert max(b - a for a, b in pairwise(times)) <= 15
        assert all(value == time // 3 for time, value in points), "each is a real sample"


def test_a_peak_of_one_scrape_is_in_the_coarsest_level(world: World) -> None:
    world.run(1500, wave)
    assert (333.25, 100.0) in read(world.storage, "gauge", BEGIN, BEGIN + 400)
    assert (333.25, 100.0) in read(_At(world.store, 2), "gauge")


def test_the_increase_of_a_counter_is_exact_through_restarts_at_any_age(world: World) -> None:
    def restarted_every_37_seconds(time: float) -> dict[str, float] | None:
        since = time % 37
        return {"x_total": since * 4} if since < 35 else None

    world.run(1300, restarted_every_37_seconds)
    given = [value for _, value in world.given["x_total"]]
    for start in (0, 400, 1000, 1250):
        points = [value for _, value in read(world.storage, "x_total", BEGIN + start) if value is not None]
        first = world.given["x_total"].index((BEGIN + read(world.storage, "x_total", BEGIN + start)[0][0], points[0]))
        assert _increase(points) == _increase(given[first:])


def test_the_end_of_a_series_is_kept(world: World) -> None:
    world.run(100, lambda time: {"x": 1.0, "y": 2.0} if time < 50 else {"y": 2.0})
    world.run(100, lambda time: None)
    world.run(100, lambda time: {"y": 3.0})
    world.run(400, lambda time: {"z": 3.0})
    for name, value, end, count in (("x", 1.0, 50, 1), ("y", 2.0, 100.25, 2)):
        points = read(world.storage, name, BEGIN)
        ended = [time for time, shown in points if shown is None]
        assert (len(ended), ended[0]) == (count, end)
        assert points[points.index((end, None)) - 1] == (end - 0.25, value)


def test_series_are_selected_by_matchers(world: World) -> None:
    world.run(100, wave)
    found = world.storage.select([Matcher("instance", "=", "a"), Matcher("__name__", "!=", "gauge")], BEGIN, BEGIN + 20)
    assert {dict(series.labels)["__name__"] for series in found} == {"requests_total", "constant"}
    assert (
        world.storage.select([Matcher("__name__", "=~", "g.*|no"), Matcher("instance", "=", "b")], BEGIN, BEGIN + 20)
        == []
    )
    assert world.storage.select([Matcher("__name__", "=", "gauge")], BEGIN - 50, BEGIN) == []


def test_the_resolution_is_told(world: World) -> None:
    world.run(1000, wave)
    steps = [world.storage.resolution(world.now - age) for age in (10, 29, 45, 100, 299, 301, 5000)]
    assert steps == [0, 0, 1, 5, 5, 15, 15]


def test_the_file_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path / "history.db", max_bytes=600_000)

    def noise(time: float) -> dict[str, float]:
        return {f"x{number}": math.sin(time * (number + 1)) for number in range(60)}

    world.run(400, noise)
    assert world.store.size <= 700_000
    assert (tmp_path / "history.db").stat().st_size < 2_000_000
    assert read(world.storage, "x1", world.now - 25)[-1][0] == 400


def test_series_that_are_long_gone_give_up_their_numbers(tmp_path: Path) -> None:
    world = World(tmp_path / "history.db")
    for part in range(40):
        world.run(60, lambda time, part=part: {f"x{part}": time})
    assert world.store.series <= 24
    world.store.close()
    assert Store(tmp_path / "history.db", LEVELS).series <= 24


def test_targets_that_are_gone_are_forgotten(world: World) -> None:
    for part in range(20):
        world.run(10, lambda time: {"x": time}, target=f"t{part}")
        world.head.end(f"t{part}", world.now)
        world.head.prune(world.now)
    assert len(world.history._written) <= 6
    assert len(world.head._blocks) <= 6


def test_series_over_the_limit_are_not_stored(tmp_path: Path) -> None:
    world = World(tmp_path / "history.db")
    world.store._max_series = 2
    world.run(60, lambda time: {"x": time, "y": time, "z": time})
    assert world.store.series == 2
    assert read(world.storage, "x", BEGIN)[0][0] <= 1
    assert read(world.storage, "z", BEGIN)[0][0] >= 29, "in the head alone"


def test_a_history_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = World(tmp_path / "history.db")
    first.run(95, wave)
    first.run(1, lambda time: None)
    first.store.close()
    second = World(tmp_path / "history.db")
    second.now = BEGIN + 200
    second.run(500, wave)
    points = read(second.storage, "constant", BEGIN)
    times = [time for time, _ in points]
    assert times[0] <= 15
    gaps = [(a, b) for a, b in pairwise(times) if b - a > 15]
    assert [gap[0] for gap in gaps] == [95.25]
    assert (95.25, None) in points
    assert (95.0, 7.0) in points


def test_a_pause_of_a_month_is_no_work(tmp_path: Path) -> None:
    first = World(tmp_path / "history.db")
    first.run(95, wave)
    first.store.close()
    second = World(tmp_path / "history.db")
    second.now = BEGIN + 30 * 86400
    statements: list[str] = []
    second.store._writer.set_trace_callback(statements.append)
    second.run(300, wave)
    assert len(statements) < 10_000
    assert second.store.closed(2) >= 1000 * (second.now - 150)


def test_a_clock_that_is_set_back_leaves_a_series_in_order(world: World) -> None:
    world.run(200, wave)
    world.now -= 100
    world.run(150, lambda time: {"constant": 8.0})
    points = read(world.storage, "constant", BEGIN)
    times = [time for time, _ in points]
    assert times == sorted(set(times))
    assert points[-1] == (250, 8.0)


def test_a_full_disk_stops_the_history_alone_and_is_said(tmp_path: Path) -> None:
    world = World(tmp_path / "history.db")
    world.run(60, wave)
    assert world.history.error == ""
    pages = world.store._writer.execute("PRAGMA page_count").fetchone()[0]
    world.store._writer.execute(f"PRAGMA max_page_count = {pages}")
    noise = {f"x{number}": 1.0 for number in range(300)}
    world.run(60, lambda time: {name: math.sin(time * number) for number, name in enumerate(noise)} | wave(time))
    assert "full" in world.history.error
    assert str(tmp_path) in world.history.error
    assert read(world.storage, "x7", world.now - 10)[-1][0] == 120, "the live path goes on"
    world.store._writer.execute("PRAGMA max_page_count = 1000000")
    world.run(60, wave)
    assert world.history.error == ""
    times = [time for time, _ in read(world.storage, "constant", BEGIN)]
    assert times[-1] == 180
    assert max(b - a for a, b in pairwise(times)) <= 62, "what the head still has is written later"


@pytest.mark.parametrize("damage", [b"", b"garbage", zlib.compress(b"short")])
def test_a_damaged_chunk_is_said_and_the_present_goes_on(world: World, damage: bytes) -> None:
    world.run(100, wave)
    world.store._writer.execute("UPDATE chunk SET data = ? WHERE name = 'gauge'", (damage,))
    with pytest.raises(HistoryError, match=r"history\.db cannot be read"):
        read(world.storage, "gauge", BEGIN)
    assert read(world.storage, "gauge", world.now - 10)[-1][0] == 100
    assert read(world.storage, "constant", BEGIN)[0][0] <= 5


def test_a_newer_file_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes(), path.stat().st_mtime_ns, sorted(tmp_path.iterdir())
    with pytest.raises(HistoryError, match="newer"):
        Store(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(tmp_path.iterdir())) == before


@pytest.mark.parametrize("content", [b"my diary", b"SQLite format 3\x00" + bytes(200)])
def test_a_file_that_is_no_history_is_refused_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary"
    path.write_bytes(content)
    with pytest.raises(HistoryError, match="no history"):
        Store(path)
    assert path.read_bytes() == content


def test_a_history_that_another_monitor_writes_is_refused(tmp_path: Path) -> None:
    first = Store(tmp_path / "history.db")
    with pytest.raises(HistoryError, match="another monitor"):
        Store(tmp_path / "history.db")
    first.close()
    Store(tmp_path / "history.db").close()


async def test_the_writer_writes_what_is_left_when_it_is_stopped(tmp_path: Path) -> None:
    store, head, now = Store(tmp_path / "history.db"), Head(), BEGIN
    history = History(store, head, now=lambda: now)
    task = asyncio.create_task(history.run())
    head.append("a", BEGIN - 1, page({"x": 1.0}))
    await until(lambda: len(list(store.read_journal())) == 1)
    now = BEGIN + 1
    head.append("a", BEGIN + 0.5, page({"x": 2.0}))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [entry.values.tolist() for entry in store.read_journal()] == [[1.0], [2.0]]
    assert history.error == ""


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="missing"):
        Store(tmp_path / "missing" / "history.db")


class _At:
    """One level as a `Source`."""

    def __init__(self, store: Store, level: int) -> None:
        self._store, self._level = store, level

    def select(self, matchers: list[Matcher], start: float, end: float) -> list:
        return self._store.select(self._level, matchers, start, end)


def _increase(values: list[float]) -> float:
    return sum(now - before if now >= before else now for before, now in pairwise(values))


def test_a_rule_without_results_does_not_stop_the_history(world: World) -> None:
    """A rule that held once, and then yields nothing, has pages without series."""
    world.run(5, lambda _: {"ALERTS": 1.0}, "rule")

    def nothing(time: float) -> dict[str, float]:
        world.head.append("b", world.now, page({"gauge": time}, "b"))
        return {}

    world.run(60, nothing, "rule")
    assert read(world.storage, "ALERTS")[0] == (5.0, 1.0)
    world.run(20, lambda _: {"ALERTS": 1.0}, "rule")
    assert read(world.storage, "ALERTS")[-1] == (85.0, 1.0)
