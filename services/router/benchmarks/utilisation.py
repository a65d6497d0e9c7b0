"""Does every engine work all the time? A closed load of twice the engines' saturation, for a minute.

    .venv/bin/python services/router/benchmarks/utilisation.py [--without-ray]
    .venv/bin/python services/router/benchmarks/utilisation.py --gpus 2 --whole --tokens 512 --engine-command '… {port}'

busy         share of the time in which an engine had a request running, counted by the engine
slots        mean number of its requests, of those that it can run at once
efficiency   its tokens per second, of those of one engine alone under the same load per engine

Scripted engines take time, not cores, so four times one engine's capacity is real on two cores. Of each figure the
worst engine counts, not the mean. With `--gpus N` real engines run on N GPUs: NVML says how long a kernel ran on each,
and the tokens per second of N are compared with those of one.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks import gpus, routers, stack

from llm_contract import metrics
from llm_contract.testing.scripted_engine import BUSY_SECONDS, SLOT_SECONDS
from llm_measure import results
from llm_measure.processes import command, free_port, scrape
from llm_measure.traffic import Traffic

ENGINES = 4
MAX_RUNNING = 8
GAP = 0.05
ENGINE = f"{stack.SCRIPTED} --ttft {GAP} --gaps {GAP} --max-running {MAX_RUNNING}"
TOKENS = 64
OVERLOAD = 2
"""Clients per slot."""
RAMP_SECONDS = 5.0
"""Load before and after the measurement: queues fill, and clients end one by one."""
START_SECONDS = 900.0
Run = dict[str, Any]
Watched = gpus.Utilisation | None
Bars = dict[str, tuple[float, str, float]]


@contextmanager
def fleet(engine: str, count: int, *, max_running: int, ray: bool) -> Iterator[tuple[str, list[str]]]:
    """Run a router with `count` engines. Yield its URL and theirs."""
    if ray:
        settings: Run = {"replicas": count, "max_running": max_running, "queue": OVERLOAD * max_running * count}
        with stack.running(stack.config(engine, **settings), gpus=count) as router:
            router.wait_for(count, timeout=START_SECONDS)
            yield router.url, [one["url"] for one in router.live()]
        return
    with ExitStack() as running:
        urls = []
        for index in range(count):
            urls.append(f"http://127.0.0.1:{(port := free_port())}")
            argv = shlex.split(engine.format(python=sys.executable, port=port))
            running.enter_context(command(argv, urls[-1], "/health", {"CUDA_VISIBLE_DEVICES": str(index)}))
        limits = ("--max-running", str(max_running), "--queue", str(OVERLOAD * max_running * count))
        edge = running.enter_context(routers.edge(urls, *limits))
        routers.wait_for_answer(edge.url)
        yield edge.url, urls


async def loaded(url: str, engines: list[str], load: Run, *, seconds: float, watched: Watched) -> Run:
    """Return what each engine did per second of the measurement, by metric. `load` are arguments of `Traffic`."""
    # A real engine's greedy text depends on its batch, so only scripted engines are held to their words.
    async with Traffic(url, **load, same_text=watched is None) as traffic:
        await asyncio.sleep(RAMP_SECONDS)
        before = await asyncio.to_thread(_scrape, engines)
        with watched or nullcontext():
            await asyncio.sleep(seconds)
        after = await asyncio.to_thread(_scrape, engines)
        await asyncio.sleep(RAMP_SECONDS)
    rates = [
        {name: (late[name] - early[name]) / (late["moment"] - early["moment"]) for name in early.keys() & late.keys()}
        for early, late in zip(before, after, strict=True)
    ]
    return {"engines": rates, "load": traffic.summary()}


def _scrape(urls: list[str]) -> list[dict[str, float]]:
    return [{**scrape(url), "moment": time.monotonic()} for url in urls]


def tokens_per_second(run: Run) -> list[float]:
    return [engine[metrics.GENERATION_TOKENS.name] for engine in run["engines"]]


def scripted(rounds: int, seconds: float, ray: bool) -> tuple[Run, Bars]:
    """Measure scripted engines: one alone, and the fleet, in turn."""
    runs = []
    for _ in range(rounds):
        alone = _measure(ENGINE, 1, seconds / 4, max_running=MAX_RUNNING, ray=False)
        saturated = tokens_per_second(alone)[0]
        run = _measure(ENGINE, ENGINES, seconds, max_running=MAX_RUNNING, ray=ray)
        tokens = tokens_per_second(run)
        runs.append(
            {
                "saturated": saturated,
                "busy": [engine[BUSY_SECONDS.name] for engine in run["engines"]],
                "slots": [engine[SLOT_SECONDS.name] / MAX_RUNNING for engine in run["engines"]],
                "efficiency": [each / saturated for each in tokens],
                "most_of_least": max(tokens) / min(tokens),
                "bad": run["load"]["seen"],
            }
        )
        print("  " + "   ".join(f"{name} {min(runs[-1][name]):.3f}" for name in ("busy", "slots", "efficiency")))
    worst = {name: statistics.median(min(run[name]) for run in runs) for name in ("busy", "slots", "efficiency")}
    spread = statistics.median(run["most_of_least"] for run in runs)
    checks: Bars = {
        "least busy": (worst["busy"], ">=", 0.95),
        "least slots": (worst["slots"], ">=", 0.85),
        "least efficiency": (worst["efficiency"], ">=", 0.85),
        "most loaded, of least": (spread, "<=", 1.2),
        "answers that were not good": (float(sum(len(run["bad"]) for run in runs)), "<=", 0.0),
    }
    return {"engines": ENGINES, "worst": worst, "most_of_least": spread, "runs": runs}, checks


def on_gpus(arguments: argparse.Namespace) -> tuple[Run, Bars]:
    """Measure real engines: one on one GPU, then N on N."""
    count, engine = arguments.gpus, arguments.engine_command
    runs = {}
    for number in (1, count):
        watched = gpus.Utilisation(number)
        run = _measure(
            engine,
            number,
            arguments.seconds,
            max_running=arguments.saturation,
            ray=not arguments.without_ray,
            clients="unary" if arguments.whole else "streams",
            tokens=arguments.tokens,
            watched=watched,
        )
        runs[number] = {"tokens_per_second": tokens_per_second(run), "utilised": watched.means()}
        print(f"  {number} GPUs: {sum(runs[number]['tokens_per_second']):,.0f} tokens/s, utilised {watched.means()}")
    one, tokens = runs[1]["tokens_per_second"][0], runs[count]["tokens_per_second"]
    checks: Bars = {
        "least utilised GPU": (min(runs[count]["utilised"]), ">=", 0.85),
        "tokens per second, of one GPU's": (sum(tokens) / one, ">=", 0.95 * count),
        "most loaded, of least": (max(tokens) / min(tokens), "<=", 1.2),
    }
    options = {name: getattr(arguments, name) for name in ("gpus", "engine_command", "saturation", "whole", "tokens")}
    found = {**options, "card": gpus.name(), "runs": runs}
    return found, checks


def _measure(
    engine: str,
    count: int,
    seconds: float,
    *,
    max_running: int,
    ray: bool,
    clients: str = "streams",
    tokens: int = TOKENS,
    watched: Watched = None,
) -> Run:
    load = {clients: OVERLOAD * max_running * count, "tokens": tokens}
    with fleet(engine, count, max_running=max_running, ray=ray) as (url, urls):
        return asyncio.run(loaded(url, urls, load, seconds=seconds, watched=watched))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of the measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-ray", action="store_true", help="only the edge, before engines started here")
    parser.add_argument("--gpus", type=int, default=0, help="real engines on this number of GPUs")
    parser.add_argument("--engine-command", default="", help="with --gpus: the engine, on {port}, by {python}")
    parser.add_argument("--saturation", type=int, default=128, help="with --gpus: requests that fill one engine")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="with --gpus: tokens of each answer")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="with --gpus: whole answers, for one Python client reads 26,000 streamed tokens a second",
    )
    parser.add_argument("--no-write", action="store_true", help="leave results/utilisation.json as it is")
    arguments = parser.parse_args()
    if arguments.gpus and not arguments.engine_command:
        parser.error("--gpus needs --engine-command")
    machine = results.machine()
    if arguments.gpus:
        found, bars = on_gpus(arguments)
    else:
        found, bars = scripted(arguments.rounds, arguments.seconds, ray=not arguments.without_ray)
    found = {"machine": machine, "seconds": arguments.seconds, "ray": not arguments.without_ray, **found}
    held = results.check(found, bars)
    if not arguments.no_write:
        name = "utilisation_gpus" if arguments.gpus else "utilisation"
        print(results.write(str(Path(__file__).with_stem(name)), found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
