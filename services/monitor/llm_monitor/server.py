"""`llm-monitor serve` and `llm-monitor replay`: collector, history, alerts and web as one process.

Everything runs on one event loop. What can block has a thread of its own: the history's writer, NVML, ranges on disk.
A part that fails ends the process, as a monitor that shows half the truth is worse than one that restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import uvloop
from aiohttp import web

from llm_contract import logs
from llm_contract import monitor_metrics as names
from llm_contract.settings import EXIT_USAGE, load
from llm_monitor.alerts import AlertEngine, InvalidRules
from llm_monitor.alerts import load as load_rules
from llm_monitor.alerts.notify import GroupingNotifier
from llm_monitor.alerts.receivers import make as make_receivers
from llm_monitor.alerts.results import HeadWriter
from llm_monitor.alerts.store import NewerState, StateFile
from llm_monitor.boards.metrics import exported
from llm_monitor.collect import TargetState
from llm_monitor.collect.collection import Collection
from llm_monitor.external import serve as serve_external_metrics
from llm_monitor.history import History, HistoryError, Storage, Store
from llm_monitor.history.recording import InvalidRecording
from llm_monitor.history.replay import Replay
from llm_monitor.metrics import CONTENT_TYPE, MonitorMetrics
from llm_monitor.promql.remote import Prometheus
from llm_monitor.series.head import Head
from llm_monitor.settings import MonitorSettings
from llm_monitor.web.alerts import AlertPages
from llm_monitor.web.annotations import Annotations
from llm_monitor.web.api import PrometheusApi
from llm_monitor.web.app import make_app
from llm_monitor.web.export import ExportPages
from llm_monitor.web.live import Hub
from llm_monitor.web.pages import Pages, StaticFiles
from llm_monitor.web.queries import Queries
from llm_monitor.web.traces import Traces

PROG = "llm-monitor"
STOP_SECONDS = 2.0
WINDOW_SECONDS = 30.0
"""Part of the head that the windows of rates at the begin of a live range need."""
log = logging.getLogger(__name__)


class Samples(Protocol):
    """Where samples come from: a `Collector`, or a `Replay` of a recording."""

    def on_cycle(self, callback: Callable[[float], None]) -> None: ...
    def states(self) -> list[TargetState]: ...


@dataclass(frozen=True, slots=True)
class Running:
    """A monitor that serves."""

    url: str
    head: Head
    engine: AlertEngine
    hub: Hub
    traces: Traces
    tasks: tuple[asyncio.Task[None], ...]


@asynccontextmanager
async def monitor(settings: MonitorSettings, recording: Path | None = None) -> AsyncIterator[Running]:
    """Start everything, serve until the block ends, and stop everything."""
    async with AsyncExitStack() as stack:
        if settings.data is not None:
            settings.data.mkdir(parents=True, exist_ok=True)
        collection = Collection(settings.collect)
        metrics, head = collection.metrics, collection.head
        replay = None if recording is None else Replay(recording, head)
        samples: Samples = replay or collection.collector
        jobs: list[Awaitable[None]] = [replay.run() if replay else collection.run()]
        store = _store(settings, stack)
        if store is not None and recording is None:
            jobs.append(History(store, head, metrics=metrics, max_bytes=settings.history.max_bytes).run())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        storage = Storage(head, store)
        engine, notifier = _alerts(settings, head, storage, session)
        jobs += [engine.run(), notifier.run()]
        remote = Prometheus(settings.prometheus, session) if settings.prometheus else None
        queries = Queries(head, storage, remote=remote)
        parts = _parts(
            settings,
            head=head,
            queries=queries,
            engine=engine,
            samples=samples,
            metrics=metrics,
        )
        app = make_app(parts.all, host=settings.host, names=settings.web.names, keys=settings.web.keys)
        samples.on_cycle(parts.hub.cycle)
        url = await _listen(app, settings, stack)
        if settings.external_metrics is not None:
            await stack.enter_async_context(serve_external_metrics(settings.external_metrics, queries))
        tasks = [asyncio.create_task(_forever(job)) for job in jobs]
        stack.push_async_callback(_cancel, tasks)
        stack.callback(parts.hub.close)
        yield Running(url, head, engine, parts.hub, parts.traces, tuple(tasks))


def _store(settings: MonitorSettings, stack: AsyncExitStack) -> Store | None:
    """Open the history. Raises HistoryError for a file that is not ours, or of a newer version."""
    if settings.history_file is None:
        return None
    store = Store(settings.history_file)
    stack.callback(store.close)
    return store


def _alerts(
    settings: MonitorSettings, head: Head, storage: Storage, session: aiohttp.ClientSession
) -> tuple[AlertEngine, GroupingNotifier]:
    """Raises InvalidRules, NewerState."""
    notifier = GroupingNotifier(settings.alerts, make_receivers(settings.alerts.receivers, session))
    state = StateFile(settings.data / "alerts.json") if settings.data is not None else None
    writer = HeadWriter(head)
    engine = AlertEngine(load_rules(settings.alerts), storage, notifier=notifier, write=writer.write, state=state)
    return engine, notifier


@dataclass(frozen=True, slots=True)
class _Parts:
    hub: Hub
    traces: Traces
    all: tuple[Any, ...]


def _parts(
    settings: MonitorSettings,
    *,
    head: Head,
    queries: Queries,
    engine: AlertEngine,
    samples: Samples,
    metrics: MonitorMetrics,
) -> _Parts:
    """Make the handlers of all paths."""
    from llm_report.theme import style_sheet

    known = exported()
    alerts = AlertPages(engine, queries.clock)

    def targets() -> list[dict[str, Any]]:
        return [_target(state, head) for state in samples.states()]

    def state() -> dict[str, Any]:
        return {"targets": targets(), "alerts": alerts.counts()}

    hub = Hub(queries, state=state, interval=settings.collect.interval)
    metrics.gauge(names.VIEWERS).set_function(lambda: hub.viewers)
    annotations = Annotations(settings.data / "annotations.jsonl" if settings.data is not None else None)
    traces = Traces(settings.web.max_traces)
    dropped = metrics.counter(names.VIEWERS_DROPPED)
    pages = Pages(
        queries,
        hub,
        annotations,
        known,
        interval=settings.collect.interval,
        live_seconds=settings.collect.head_seconds - WINDOW_SECONDS,
        dropped=dropped.inc,
    )
    api = PrometheusApi(queries, known, targets=lambda: _active(samples), rules=alerts.rules, alerts=alerts.alerts)
    own = OwnPages(metrics, samples)
    return _Parts(hub, traces, (StaticFiles(style_sheet()), pages, api, alerts, ExportPages(queries), traces, own))


def _target(state: TargetState, head: Head) -> dict[str, Any]:
    """Return a target's state for the page, without what changes in each cycle: it is sent when it changed."""
    return {
        "url": state.url,
        "job": state.job,
        "instance": state.instance,
        "up": state.up,
        "error": state.error,
        "duration": float(f"{state.duration:.1g}"),
        "series": head.series_of(state.url),
        "dropped": state.dropped,
        "skew": round(state.clock_skew, 1),
    }


def _active(samples: Samples) -> list[dict[str, Any]]:
    """Return targets as Prometheus's API lists them."""
    return [
        {
            "scrapeUrl": state.url,
            "labels": {**state.labels, "job": state.job, "instance": state.instance},
            "discoveredLabels": {},
            "scrapePool": state.job,
            "health": "up" if state.up else "down",
            "lastError": state.error,
            "lastScrape": state.last_scrape,
            "lastScrapeDuration": state.duration,
        }
        for state in samples.states()
    ]


class OwnPages:
    """/health, /ready and /metrics."""

    def __init__(self, metrics: MonitorMetrics, samples: Samples) -> None:
        self._metrics = metrics
        self._samples = samples

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._health)
        app.router.add_get("/metrics", self._show)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})


async def _listen(app: web.Application, settings: MonitorSettings, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, settings.host, settings.port).start()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{runner.addresses[0][1]}"


async def _forever(job: Awaitable[None]) -> None:
    await job


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(settings: MonitorSettings, recording: Path | None = None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with monitor(settings, recording) as running:
        print(running.url, flush=True)
        waiting = asyncio.create_task(stop.wait())
        pending: set[asyncio.Task[Any]] = {waiting, *running.tasks}
        while not stop.is_set():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()  # raises what ended it; a job without work just ends
        waiting.cancel()


def main(argv: Sequence[str]) -> None:
    """Run `llm-monitor serve`."""
    settings = load(MonitorSettings, prog=f"{PROG} serve", argv=argv)
    _run(settings)


def replay(argv: Sequence[str]) -> int:
    """Run `llm-monitor replay FILE`: a recorded incident in the dashboard, at its own speed."""
    parser = argparse.ArgumentParser(prog=f"{PROG} replay", description=replay.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=9600)
    arguments = parser.parse_args(argv)
    _run(MonitorSettings(port=arguments.port), arguments.file)
    return 0


def _run(settings: MonitorSettings, recording: Path | None = None) -> None:
    logs.configure(PROG, settings.log_format)
    try:
        uvloop.run(_serve(settings, recording))
    except (HistoryError, InvalidRules, NewerState, InvalidRecording) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from None
    except OSError as error:
        sys.exit(f"{PROG}: {settings.host}:{settings.port}: {error.strerror or error}")
