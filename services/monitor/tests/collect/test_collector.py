"""The collector against exporters that answer well, badly, slowly and not at all."""

from __future__ import annotations

import asyncio
import gzip
import time
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support_exporter import Cycles, Exporter, exporter, samples

from llm_contract.testing.scripted_engine import ScriptedEngine
from llm_monitor.collect import Collector, Target, TargetState, target_of
from llm_monitor.collect.fetch import MAX_PAGE_BYTES, Answer
from llm_monitor.collect.settings import TargetSettings
from llm_monitor.metrics import MonitorMetrics
from llm_monitor.series import Head, Matcher

INTERVAL = 0.02


def collector(*targets: Target | str, **options: object) -> Collector:
    known = [target if isinstance(target, Target) else target_of(target) for target in targets]
    return Collector(known, Head(), **{"interval": INTERVAL, "timeout": 1.0, **options})


def state(cycles: Cycles, instance: str) -> TargetState:
    return next(state for state in cycles.collector.states() if state.instance == instance)


async def test_an_engine_is_recognised_and_its_series_are_labelled() -> None:
    async with ScriptedEngine() as engine, Cycles(collector(target_of(engine.url, labels={"zone": "a"}))) as cycles:
        await cycles.more(3)
        head, instance = cycles.collector.head, f"127.0.0.1:{engine.port}"
        labels = {"job": "engine", "instance": instance, "zone": "a"}
        assert samples(head, "vllm:num_requests_running", model_name="scripted", **labels)[:2] == [0, 0]
        assert samples(head, "up", **labels)[:2] == [1, 1]
        assert samples(head, "scrape_samples_scraped", **labels)[0] == state(cycles, instance).samples > 5
        assert 0 < samples(head, "scrape_duration_seconds", **labels)[0] < 10


async def test_a_target_gets_the_key_in_its_file_and_a_lost_file_is_a_failed_scrape(tmp_path: Path) -> None:
    key = tmp_path / "gateway.key"
    key.write_text("sk-one\n")
    async with exporter() as served:
        target = TargetSettings(address=served.address, key_file=key).target()
        async with Cycles(collector(target)) as cycles:
            await cycles.until(lambda: b"authorization: bearer sk-one\r\n" in served.asked.lower())
            key.write_text("sk-two\n")
            await cycles.until(lambda: b"authorization: bearer sk-two\r\n" in served.asked.lower())
            key.unlink()
            await cycles.until(lambda: "its key cannot be read" in state(cycles, served.address).error)


async def test_a_target_that_dies_ends_its_series_and_comes_back() -> None:
    async with exporter() as served, Cycles(collector(served.address)) as cycles:
        head = cycles.collector.head
        await cycles.more(2)
        await served.stop()
        await cycles.until(lambda: 0 in samples(head, "up"))
        assert samples(head, "x")[-1] is None
        assert "refused" in state(cycles, served.address).error or "broke" in state(cycles, served.address).error
        served.body = b"x 2\n"
        await served.start()
        await cycles.until(lambda: samples(head, "x")[-1] == 2)
        assert samples(head, "x").count(None) == 1
        assert state(cycles, served.address).error == ""


async def test_a_counter_is_exact_through_a_restart() -> None:
    """Every increase between two scrapes is there: before the restart, and from zero after it."""
    async with exporter() as served, Cycles(collector(served.address)) as cycles:
        head = cycles.collector.head
        for value in (5, 9, 2, 4):
            served.body = b"x_total %d\n" % value
            await cycles.until(lambda value=value: samples(head, "x_total")[-1:] == [value])
        seen = [value for value in samples(head, "x_total") if value is not None]
        rises = [now - before if now >= before else now for before, now in pairwise(seen)]
        assert seen[0] + sum(rises) == 9 + 4


BAD = {
    "status": (lambda e: setattr(e, "status", b"503 Unavailable"), "status 503"),
    "redirect": (lambda e: (setattr(e, "status", b"302 Found"), e.headers.append(b"location: /y")), "status 302"),
    "html": (lambda e: setattr(e, "body", b"<html>\n<p>hello"), "none of the 2 lines"),
    "no http": (lambda e: setattr(e, "raw", [b"\x00\xff\n\n"]), "HTTP"),
    "reset": (lambda e: setattr(e, "raw", []), "broke"),
    "cut off": (lambda e: setattr(e, "raw", [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx 1\n"]), "HTTP"),
    "long headers": (lambda e: e.headers.append(b"a: " + b"b" * 100_000), "HTTP"),
    "compressed": (
        lambda e: (setattr(e, "body", gzip.compress(b"x 1\n")), e.headers.append(b"content-encoding: gzip")),
        "compressed",
    ),
    "announced": (
        lambda e: setattr(e, "raw", [b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"]),
        "longer than",
    ),
    "endless": (lambda e: setattr(e, "endless", b"x 1\n" * 4096), "longer than"),
    "endless line": (lambda e: setattr(e, "endless", b"x" * 65536), "longer than"),
    "many lines": (lambda e: setattr(e, "body", b"\n" * 300_000), "lines"),
    "silent": (lambda e: setattr(e, "silent", True), "did not answer within"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_target_is_down_with_a_reason_and_delays_no_other(name: str) -> None:
    spoil, reason = BAD[name]
    async with exporter() as good, exporter() as bad, Cycles(collector(good.address, bad.address)) as cycles:
        head = cycles.collector.head
        await cycles.until(lambda: samples(head, "x", instance=bad.address) != [])
        spoil(bad)
        await cycles.until(lambda: not state(cycles, bad.address).up)
        await cycles.more(5)
        assert reason in state(cycles, bad.address).error
        assert samples(head, "x", instance=bad.address)[-1] is None
        assert samples(head, "up", instance=bad.address)[-1] == 0
        assert samples(head, "x", instance=good.address)[-5:] == [1] * 5
        assert bad.written < 8 * MAX_PAGE_BYTES
        await recover(bad)
        await cycles.until(lambda: state(cycles, bad.address).up)


async def recover(served: Exporter) -> None:
    served.body, served.status, served.raw = b"x 1\n", b"200 OK", None
    served.headers.clear()
    served.endless, served.silent = None, False


async def test_cycles_go_on_while_a_target_is_silent() -> None:
    """A silent target costs its first cycle the patience; later ones do not wait for it, nor ask it twice at once."""
    async with exporter() as good, exporter() as bad:
        bad.silent = True
        async with Cycles(collector(good.address, bad.address, timeout=30.0, patience=0.05)) as cycles:
            await cycles.until(lambda: len(samples(cycles.collector.head, "x", instance=good.address)) >= 20)
            assert bad.requests == 1
            assert samples(cycles.collector.head, "up", instance=bad.address) == []


async def test_a_cycle_waits_again_for_a_target_that_timed_out_once_it_answers() -> None:
    gate, complete = asyncio.Event(), []

    async def page() -> Answer:
        await gate.wait()
        return Answer(b"x 1\n")

    running = collector(local={Target("local:slow", "other"): page}, timeout=0.05, patience=0.04)

    def note(at: float) -> None:
        found = running.head.select([Matcher("__name__", "=", "x")], at - 0.001, at)
        complete.append(bool(found))

    running.on_cycle(note)
    async with Cycles(running) as cycles:
        await cycles.until(lambda: 0 in samples(running.head, "up"))
        assert not any(complete)
        gate.set()
        await cycles.until(lambda: complete[-3:] == [True] * 3)


async def test_a_page_that_is_expensive_to_read_is_read_less_often() -> None:
    """The loop reads pages, so a page of 8 MB of garbage four times a second would delay all others."""
    async with exporter() as good, exporter() as bad:
        bad.body = (b"y" * 79 + b"\n") * 100_000
        async with Cycles(collector(good.address, bad.address)) as cycles:
            await cycles.more(1)
            await cycles.until(lambda: state(cycles, bad.address).error != "")
            seen = bad.requests
            await cycles.more(20)
            assert bad.requests <= seen + 1
            assert "none of the 100000 lines" in state(cycles, bad.address).error


async def test_listeners_are_told_after_the_samples_are_there_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    async with exporter() as served:
        running = collector(served.address)
        seen = []
        running.on_cycle(lambda at: seen.append((at, len(samples(running.head, "x")))))
        running.on_cycle(lambda at: 1 / 0)
        async with Cycles(running) as cycles:
            await cycles.more(3)
        assert [count for _, count in seen[:3]] == [1, 2, 3]
        assert "a listener failed" in caplog.text


async def test_targets_can_change_while_it_runs() -> None:
    async with exporter() as one, exporter() as two, Cycles(collector(one.address)) as cycles:
        head = cycles.collector.head
        await cycles.more(2)
        cycles.collector.watch([target_of(two.address, labels={"instance": "second"}), target_of(two.address)])
        await cycles.until(lambda: samples(head, "x", instance="second") != [])
        assert [found.instance for found in cycles.collector.states()] == ["second"]
        assert samples(head, "x", instance=one.address)[-1] is None
        assert samples(head, "up", instance=one.address)[-1] is None
        cycles.collector.watch([target_of(two.address, "engine", {"instance": "renamed"})])
        await cycles.until(lambda: samples(head, "up", instance="renamed", job="engine") != [])
        assert samples(head, "x", instance="second")[-1] is None


async def test_the_end_of_the_collector_ends_all_series() -> None:
    async with exporter() as served, Cycles(collector(served.address)) as cycles:
        await cycles.more(2)
        await cycles.stop()
        assert samples(cycles.collector.head, "x")[-1] is None
        assert samples(cycles.collector.head, "up")[-1] is None


async def test_a_target_inside_the_process() -> None:
    metrics = MonitorMetrics()

    async def own_page() -> Answer:
        return Answer(metrics.render())

    own = Target("local:monitor", "monitor", (("instance", "me"),))
    async with Cycles(collector(local={own: own_page}, metrics=metrics)) as cycles:
        await cycles.more(3)
        found = samples(cycles.collector.head, "monitor_scrapes_total", instance="me", job="monitor", outcome="ok")
        assert found[0] == 1
        assert samples(cycles.collector.head, "process_resident_memory_bytes")[0] > 0


async def test_too_many_series_are_dropped_counted_and_shown() -> None:
    metrics = MonitorMetrics()
    head = Head(max_series_of_target=100)
    async with exporter() as served:
        served.body = b"".join(b'x{a="%d"} 1\n' % number for number in range(10_000))
        async with Cycles(Collector([target_of(served.address)], head, metrics=metrics, interval=INTERVAL)) as cycles:
            await cycles.more(5)
            assert state(cycles, served.address).dropped == 9_900
            assert state(cycles, served.address).samples == 10_000
        assert head.series == 100 + 3
        assert f'monitor_series_dropped_total{{target="{served.address}"}} 9900.0' in metrics.render().decode()


async def test_series_with_ever_new_labels_stay_bounded() -> None:
    head = Head(max_series_of_target=200)
    async with exporter() as served, Cycles(Collector([target_of(served.address)], head, interval=INTERVAL)) as cycles:
        for step in range(10):
            served.body = b"".join(b'x{a="%d"} 1\n' % number for number in range(step * 100, step * 100 + 100))
            await cycles.more(2)
        assert head.series <= 200 + 3
        assert head.dropped[target_of(served.address).url] >= 500


async def test_a_clock_that_is_ahead_is_shown() -> None:
    async with exporter() as served, Cycles(collector(served.address)) as cycles:
        await cycles.more(1)
        ahead = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90))
        served.headers.append(b"date: " + ahead.encode())
        await cycles.until(lambda: state(cycles, served.address).clock_skew != 0)
        assert 80 < state(cycles, served.address).clock_skew < 92
