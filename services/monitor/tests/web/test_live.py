"""The live stream: deltas, a late viewer catches up, a reconnect has no gap, and one evaluation serves all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from tests.support_samples import BEGIN, Samples

from llm_monitor.boards.catalog import board
from llm_monitor.boards.panel import Board, Choice, Panel, Query, Section
from llm_monitor.web.live import Hub
from llm_monitor.web.queries import Queries
from llm_monitor.web.view import View

STEP = 0.25


class World:
    """A hub over one engine whose `running` is the number of the cycle."""

    def __init__(self) -> None:
        self.samples = Samples()
        self.time = BEGIN
        self.evaluations = 0
        queries = Queries(self.samples, self.samples, clock=lambda: self.time)
        now = queries.now

        def counted(*arguments: Any) -> Any:
            self.evaluations += 1
            return now(*arguments)

        queries.now = counted  # type: ignore[method-assign]
        self.hub = Hub(queries, state=lambda: {"targets": []}, interval=STEP)

    def cycle(self, *, running: float | None = None, engines: tuple[str, ...] = ("a",)) -> None:
        self.time += STEP
        for engine in engines:
            value = (self.time - BEGIN) / STEP if running is None else running
            labels = {"instance": engine, "job": "engine", "model_name": "main"}
            self.samples.put(self.time, "vllm:num_requests_running", value, **labels)
        self.hub.cycle(self.time)

    def follow(self, *, since: float | None = None, by: str = "") -> AsyncGenerator[bytes, None]:
        return self.hub.follow(View(board("engines"), Choice(by=by)), since=since, span=60.0)


class Screen:
    """The values by time that a page reads from the messages, for each series."""

    def __init__(self) -> None:
        self.columns: list[dict[str, Any]] = []
        self.shown: dict[str, dict[float, float | None]] = {}
        self.last = 0.0
        self.events: list[str] = []

    async def read(self, stream: AsyncGenerator[bytes, None], until: float) -> None:
        async with asyncio.timeout(5):
            while self.last < until:
                for message in (await anext(stream)).split(b"\n\n"):
                    self.take(message.decode())

    def take(self, message: str) -> None:
        fields = dict(line.split(": ", 1) for line in message.splitlines() if ": " in line)
        self.events.append(fields.get("event", ""))
        if fields.get("event") not in ("past", "now"):
            return
        data = orjson.loads(fields["data"])
        if fields["event"] == "past":
            self.columns = data["columns"]
            for column, values in zip(self.columns, data["values"], strict=True):
                self._series(column).update(zip(data["times"], values, strict=True))
            self.last = data["times"][-1]
        else:
            self.columns[data["from"] : data["from"] + len(data["new"])] = data["new"]
            changed = dict(zip(data["i"], data["v"], strict=True))
            for number, column in enumerate(self.columns):
                series = self._series(column)
                series[data["t"]] = changed[number] if number in changed else series.get(self.last)
            self.last = data["t"]

    def running(self, engine: str = "") -> dict[float, float | None]:
        labels = {"instance": engine} if engine else {}
        return self._series({"panel": "running", "query": 0, "labels": labels})

    def _series(self, column: dict[str, Any]) -> dict[float, float | None]:
        return self.shown.setdefault(repr((column["panel"], column["query"], column["labels"])), {})


def expected(first: int, last: int) -> dict[float, float]:
    return {BEGIN + STEP * number: float(number) for number in range(first, last + 1)}


async def test_a_viewer_gets_the_past_and_then_each_cycle() -> None:
    world, screen = World(), Screen()
    for _ in range(8):
        world.cycle()
    stream = world.follow()
    await screen.read(stream, world.time)
    for _ in range(3):
        world.cycle()
        await screen.read(stream, world.time)
    running = {time: value for time, value in screen.running().items() if value is not None}
    assert running == expected(1, 11)
    assert screen.events.count("now") >= 2


async def test_an_unchanged_value_is_not_sent_again() -> None:
    world = World()
    stream = world.follow()
    world.cycle(running=7)
    await Screen().read(stream, world.time)
    world.cycle(running=7)
    await Screen().read(stream, world.time)
    world.cycle(running=7)
    async with asyncio.timeout(5):
        message = await anext(stream)
        while b"event: now" not in message:
            message = await anext(stream)
    assert orjson.loads(message.split(b"data: ")[1])["i"] == []


async def test_a_reconnect_has_no_gap_and_nothing_twice() -> None:
    world, screen = World(), Screen()
    first = world.follow()
    world.cycle()
    await screen.read(first, world.time)
    await first.aclose()
    since = screen.last
    for _ in range(5):
        world.cycle()
    again = world.follow(since=since)
    missed = Screen()
    await missed.read(again, world.time)
    assert {time: value for time, value in missed.running().items() if time > since} == expected(2, 6)
    assert min(missed.running()) > since


async def test_a_slow_viewer_gets_what_it_missed_as_one_message() -> None:
    world, screen = World(), Screen()
    stream = world.follow()
    world.cycle()
    await screen.read(stream, world.time)
    for _ in range(6):  # it reads none of these
        world.cycle()
    await screen.read(stream, world.time)
    assert {time: value for time, value in screen.running().items() if value} == expected(1, 7)
    assert len(screen.events) < 8


async def test_fifty_viewers_cost_one_evaluation_a_cycle() -> None:
    world = World()
    streams = [world.follow() for _ in range(50)]
    screens = [Screen() for _ in streams]
    for stream, screen in zip(streams, screens, strict=True):
        await screen.read(stream, world.time)
    for _ in range(4):
        world.cycle()
        await asyncio.gather(
            *(screen.read(stream, world.time) for screen, stream in zip(screens, streams, strict=True))
        )
    assert world.evaluations == 4
    assert world.hub.viewers == 50


async def test_nobody_looks_nothing_is_evaluated() -> None:
    world = World()
    stream = world.follow()
    world.cycle()
    await Screen().read(stream, world.time)
    await stream.aclose()
    before = world.evaluations
    world.cycle()
    assert (world.evaluations, world.hub.viewers) == (before, 0)


async def test_a_new_engine_gets_a_line_at_every_viewer() -> None:
    world, one, other = World(), Screen(), Screen()
    first, second = world.follow(by="engine"), world.follow(by="engine")
    world.cycle()
    await one.read(first, world.time)
    world.cycle(engines=("a", "b"))
    await one.read(first, world.time)
    await other.read(second, world.time)  # its past comes after the new series
    world.cycle(engines=("a", "b"))
    await one.read(first, world.time)
    await other.read(second, world.time)
    for screen in (one, other):
        assert screen.running("b")[world.time] == 3.0


async def test_a_series_that_ends_has_no_value_any_more() -> None:
    world, screen = World(), Screen()
    stream = world.follow(by="engine")
    world.cycle(engines=("a", "b"))
    await screen.read(stream, world.time)
    labels = {"instance": "b", "job": "engine", "model_name": "main"}
    world.samples.put(world.time + STEP, "vllm:num_requests_running", float("nan"), **labels)
    world.cycle()
    await screen.read(stream, world.time)
    assert screen.running("b")[world.time] is None


async def test_closing_the_hub_ends_the_streams() -> None:
    world = World()
    stream = world.follow()
    world.cycle()
    await Screen().read(stream, world.time)
    world.hub.close()
    assert [message async for message in stream if b"event: now" in message] == []


async def test_the_number_of_different_views_is_bounded() -> None:
    world = World()
    streams = [
        world.hub.follow(View(board("engines"), Choice(window=1.0 + n)), since=None, span=1.0) for n in range(50)
    ]
    for stream in streams:
        await anext(stream)
    assert not world.hub.has_room(View(board("engines"), Choice(window=99.0)))
    assert world.hub.has_room(View(board("engines"), Choice(window=3.0)))


async def test_an_expression_that_fails_leaves_the_others_alone() -> None:
    world = World()
    panels = tuple(
        Panel(key=key, title=key, queries=(Query(expression=text),), unit="count", shows="", source="")
        for key, text in (("bad", "up * on (job) up"), ("running", "vllm:num_requests_running"))
    )
    view = View(Board(key="engines", title="", sections=(Section(title="", panels=panels),)), Choice())
    stream, screen = world.hub.follow(view, since=None, span=60.0), Screen()
    for instance in ("a", "b"):
        world.samples.put(BEGIN + STEP, "up", 1.0, job="engine", instance=instance)
    world.cycle()
    await screen.read(stream, world.time)
    world.cycle()
    await screen.read(stream, world.time)
    assert [column["panel"] for column in screen.columns] == ["running"]
