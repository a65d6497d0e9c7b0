"""Counts that module 2 quotes: steps, blocks, tokens, waits in virtual time. No clock is read, so they repeat exactly.

    python courses/02-core-concepts/counted.py batching           counts, writes counted/batching.json, prints a table
    python courses/02-core-concepts/counted.py batching --table   prints the table of that file

batching     steps of static and of continuous batches, for three spreads of answer lengths
budgets      what a long prompt does to running streams, for several token budgets
gaps         the same for 40 streams of Llama-3-8B, in time, from an H200's measured ceilings
answers      blocks and copies of one prompt with several answers
blocks       prompt tokens found again, by block size, with hashes and in a tree
pressure     a prompt cache slightly too small for documents that are read in turn
pools        preemptions and tokens computed twice, by size of the pool
victims      who is preempted: the last in order, or the first
queue        waits in front of one server, by load and by pattern of arrivals
policies     the gateway's policies in an overload of ten minutes, replayed in virtual time
fairness     one tenant sends nine times what the other sends
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bench.workload.arrivals import (
    ConstantArrivals,
    GammaArrivals,
    OnOffArrivals,
    PoissonArrivals,
    SyntheticArrivals,
)
from llm_course.counting import Row, main
from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.observers.observer import ObservedEngine
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.policies import Order, Policies
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence as Answer
from llm_gateway.scheduling.policies import PolicyName
from llm_gateway.settings import GatewaySettings
from llm_gateway.simulate.engine_model import EngineModel
from llm_gateway.simulate.events import Replay, replay
from llm_gateway.simulate.load import Mix
from llm_gateway.simulate.synthetic import mean_lengths, poisson
from llm_report.percentile import percentile

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "models" / "zoo" / "llama"
"""The smallest: counts depend on lengths alone."""
H200 = HERE.parents[1] / "kernels" / "results" / "h200" / "bench.json"


class Counter:
    """An observer that counts what the steps did."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        """Computed in each step."""
        self.sequences: list[int] = []
        """That computed something in each step."""
        self.running: list[int] = []
        """Sequences that own blocks, after each step was scheduled."""
        self.owned: list[int] = []
        """Blocks, after each step was scheduled."""
        self.copies = {"copy": 0, "out": 0, "in": 0}
        self.preempted = 0
        self.answers: list[Answer] = []

    def watch(self, engine: ObservedEngine) -> None:
        self._engine = engine

    def queued(self, sequence: Answer) -> None:
        self.answers.append(sequence)

    def launched(self, step: Step, now: float) -> None:
        self.tokens.append(step.total_tokens)
        self.sequences.append(len(step.num_tokens))
        self.running.append(len(self._engine.scheduler.running))
        self.owned.append(self._engine.num_blocks - self._engine.kv_cache.pool.num_available)
        self.preempted += len(step.preempted)
        for copy in step.copies:
            self.copies[copy.move.name.lower()] += 1

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None: ...

    def finished(self, sequence: Answer) -> None: ...


def engine(counter: Counter, policies: Policies | None = None, **settings: Any) -> Engine:
    config = EngineConfig(str(MODEL), attention_backend="torch", check_invariants=True, **settings)
    return Engine(config, [counter], policies)


def add(to: Engine, name: object, prompt: list[int], num_tokens: int, **params: Any) -> None:
    to.add_request(str(name), prompt, SamplingParams(max_tokens=num_tokens, ignore_eos=True, **params))


def run(what: Engine) -> list[str]:
    """Run until all is done; return the names of the requests that got a token, step by step."""
    names: list[str] = []
    while what.has_work:
        names += [output.request_id for output in what.step()]
    return names


def prompt_of(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(3, 250), k=length)


def batching() -> Iterable[Row]:
    """64 requests, prompts of 8 tokens, answers of 64 tokens on average; 8 at a time."""
    draws: dict[str, Callable[[random.Random], float]] = {
        "all 64": lambda source: 64,
        "uniform, 1 to 127": lambda source: source.randint(1, 127),
        "exponential, mean 64": lambda source: source.expovariate(1 / 64),
    }
    for name, draw in draws.items():
        source = random.Random(0)
        lengths = [min(400, max(1, round(draw(source)))) for _ in range(64)]
        static = sum(max(lengths[start : start + 8]) for start in range(0, 64, 8))
        counter = Counter()
        continuous = engine(counter, max_num_seqs=8, num_gpu_blocks_override=400, enable_prefix_caching=False)
        for index, length in enumerate(lengths):
            add(continuous, index, prompt_of(8, index), length)
        run(continuous)
        steps = len(counter.tokens)
        row = {"answers": name, "tokens": sum(lengths), "static steps": static, "continuous steps": steps}
        full = {"static slots used": sum(lengths) / (8 * static), "continuous slots used": sum(lengths) / (8 * steps)}
        yield {**row, **full, "ratio": static / steps}


def budgets() -> Iterable[Row]:
    """Eight streams decode; then a prompt of 1,500 tokens comes. Steps from there to its first token."""
    for budget in (16, 32, 64, 128, 256, 512, 2048):
        counter = Counter()
        busy = engine(counter, max_num_seqs=16, max_num_batched_tokens=budget, enable_prefix_caching=False)
        for index in range(8):
            add(busy, index, prompt_of(8, index), 400)
        for _ in range(20):
            busy.step()
        begin = len(counter.tokens)
        add(busy, "long", prompt_of(1500, 99), 1)
        steps = 1
        while not any(output.request_id == "long" for output in busy.step()):
            steps += 1
        tokens = counter.tokens[begin : begin + steps]
        yield {
            "budget": budget,
            "steps to the first token": steps,
            "largest step": max(tokens),
            "tokens computed": sum(tokens),
            "tokens for the streams meanwhile": 8 * steps,
        }


def gaps() -> Iterable[Row]:
    """40 streams, a prompt of 8,192 tokens. A step: the weights' bytes or the tokens' FLOPs, the longer one."""
    parameters, streams, prompt = 8.03e9, 40, 8192
    ceilings = json.loads(H200.read_text(encoding="utf-8"))["ceilings"]
    fixed = 2 * parameters / ceilings["copy_bytes_per_second"]
    each = 2 * parameters / ceilings["flops_per_second"]["bf16"]
    for budget in (8192, 2048, 512, 170, 128, 64):
        pieces = [min(budget - streams, prompt - start) for start in range(0, prompt, budget - streams)]
        times = [max(fixed, each * (streams + piece)) for piece in pieces]
        row: Row = {"token budget": budget, "steps": len(times), "longest gap of a stream, ms": 1e3 * max(times)}
        yield {**row, "time to the prompt's first token, ms": 1e3 * sum(times)}


def answers() -> Iterable[Row]:
    """A prompt of 200 tokens, answers of 40, blocks of 16."""
    for count in (1, 2, 4, 8):
        counter = Counter()
        shared = engine(counter, num_gpu_blocks_override=400, enable_prefix_caching=False)
        add(shared, "a", prompt_of(200, 0), 40, n=count, temperature=1.0, seed=1)
        run(shared)
        alone = count * -(-239 // 16)
        yield {"answers": count, "blocks": max(counter.owned), "unshared": alone, "copies": counter.copies["copy"]}


def blocks() -> Iterable[Row]:
    """Eight prompts that share their first 500 tokens, 24 tokens of their own each."""
    for size in (4, 16, 32, 64, 128, 256):
        row: Row = {"block size": size}
        for kind in ("hash", "radix"):
            cached = engine(Counter(), block_size=size, prefix_cache=kind, max_model_len=600)
            for index in range(8):
                add(cached, index, prompt_of(500, 0) + prompt_of(24, index + 1), 1)
                run(cached)
            stats = cached.kv_cache.stats
            row |= {f"{kind}: tokens a hit": stats.hits // 7, f"{kind}: hit rate": stats.hits / stats.queries}
        yield row


def pressure() -> Iterable[Row]:
    """Eight documents of 256 tokens (16 blocks), a question of 8 tokens each; 5 rounds, one request at a time."""
    in_turn = [document for _ in range(5) for document in range(8)]
    orders = {"in turn": in_turn, "grouped": sorted(in_turn)}
    for pool in (150, 137, 130, 120, 100, 60):
        row: Row = {"blocks": pool}
        for name, order in orders.items():
            cached = engine(Counter(), num_gpu_blocks_override=pool, max_model_len=300)
            for index, document in enumerate(order):
                add(cached, index, prompt_of(256, document) + prompt_of(8, 1000 + index), 1)
                run(cached)
            row |= {name: cached.kv_cache.stats.hits / cached.kv_cache.stats.queries}
        yield row


def pools() -> Iterable[Row]:
    """24 requests, prompts of 64 tokens and answers of 64: 8 blocks each at their end, 192 together."""
    useful = 24 * (64 + 63)
    ways: dict[str, Row] = {
        "recompute": {},
        "with a prefix cache": {"prefix_cache": "hash"},
        "swap": {"num_cpu_blocks": 400},
    }
    for pool in (192, 160, 128, 96, 64, 32, 16):
        row: Row = {"blocks": pool}
        for name, settings in ways.items():
            counter = Counter()
            own = {"max_num_seqs": 24, "max_model_len": 128, "prefix_cache": "off", **settings}
            tight = engine(counter, num_gpu_blocks_override=pool, **own)
            for index in range(24):
                add(tight, index, prompt_of(64, index), 64)
            run(tight)
            if name == "recompute":
                row |= {
                    "preemptions": counter.preempted,
                    "steps": len(counter.tokens),
                    "most running": max(counter.running),
                }
            row |= {f"computed twice, {name}": sum(counter.tokens) - useful}
            if name == "swap":
                row |= {"blocks swapped out": counter.copies["out"]}
        yield row


def victims() -> Iterable[Row]:
    """48 requests, one every 16 steps, prompts of 64 tokens and answers of 128; 48 blocks hold four of them whole."""
    for name, policies in {"the last": Policies(), "the first": Policies(select_victim=_first_in_order)}.items():
        counter = Counter()
        limits = {"num_gpu_blocks_override": 48, "max_num_batched_tokens": 64, "max_model_len": 256}
        busy = engine(counter, policies, max_num_seqs=24, prefix_cache="off", **limits)
        ends: dict[Answer, int] = {}
        step = 0
        while step < 48 * 16 or busy.has_work:
            if step % 16 == 0 and step < 48 * 16:
                add(busy, step, prompt_of(64, step), 128)
            if busy.has_work:
                busy.step()
            step += 1
            ends |= {answer: step for answer in counter.answers if answer.is_over and answer not in ends}
        times = [ends[answer] - 16 * place for place, answer in enumerate(counter.answers)]
        row: Row = {"victim": name, "preemptions": counter.preempted}
        row |= {"most of one request": max(answer.num_preemptions for answer in counter.answers)}
        row |= {"computed twice": sum(counter.tokens) - 48 * (64 + 127), "steps": step}
        yield {**row, "mean steps of a request": sum(times) / len(times), "longest": max(times)}


def _first_in_order(running: Iterable[Answer], order: Order) -> Answer:
    return min(running, key=order)


def queue() -> Iterable[Row]:
    """One server, mean service 1 s; 400,000 arrivals. Mean waits in seconds before service begins."""
    service = np.random.default_rng(1).exponential(1.0, 400_000)
    fixed = np.ones(400_000)
    for load in (0.5, 0.7, 0.8, 0.9, 0.95):
        kinds: dict[str, SyntheticArrivals] = {
            "constant": ConstantArrivals(kind="constant", rate=load),
            "poisson": PoissonArrivals(kind="poisson", rate=load),
            "gamma": GammaArrivals(kind="gamma", rate=load, burstiness=0.25),
            "on_off": OnOffArrivals(kind="on_off", rate=load, burst=20, lull=20),
        }
        row: Row = {"load": load}
        for name, kind in kinds.items():
            times = kind.draw(400_000 / load, np.random.default_rng(2))
            row |= {name: mean_wait(times, service)}
            if name == "poisson":
                row |= {"poisson, equal services": mean_wait(times, fixed), "formula": load / (1 - load)}
        yield row


def mean_wait(arrivals: npt.NDArray[np.float64], service: npt.NDArray[np.float64]) -> float:
    """Return the mean wait of a first-come-first-served queue (Lindley's recursion)."""
    total, wait = 0.0, 0.0
    for gap, work in zip(np.diff(arrivals).tolist(), service.tolist(), strict=False):
        wait = max(0.0, wait + work - gap)
        total += wait
    return float(total / len(arrivals))


def policies() -> Iterable[Row]:
    """1.3 times what one engine can serve, for 600 s; half interactive, three tenths standard, a fifth batch."""
    names: tuple[PolicyName, ...] = ("fcfs", "priority", "aging", "edf", "sjf", "composite")
    for policy in names:
        result = _overload(policy, 1.3, Mix({"interactive": 0.5, "standard": 0.3, "batch": 0.2}, {"": 1.0}))
        row: Row = {"policy": policy}
        for name in ("interactive", "standard", "batch"):
            row |= {f"{name} P99, s": _ttft(result, name), f"{name} refused": _refused(result, name)}
        waits = [one.granted - one.request.at for one in result.sequences]
        served = [one for one in result.sequences if one.finished == one.finished]
        mean = sum(one.first_token - one.request.at for one in served) / len(served)
        yield {**row, "longest wait, s": float(np.nanmax(waits)), "mean TTFT, s": mean}


def fairness() -> Iterable[Row]:
    """1.2 times what one engine can serve, for 600 s, one class; `hog` sends nine requests for one of `small`."""
    ways: list[tuple[PolicyName, float]] = [("fcfs", 5.0), ("vtc", 5.0), ("composite", 5.0), ("composite", 60.0)]
    for policy, window in ways:
        mix = Mix({"interactive": 1.0}, {"hog": 9.0, "small": 1.0})
        result = _overload(policy, 1.2, mix, fairness_window=window)
        row: Row = {"policy": f"{policy}, S = {window:g} s" if policy == "composite" else policy}
        for name in ("hog", "small"):
            mine = [one for one in result.sequences if one.request.tenant == name]
            served = [one for one in mine if one.granted == one.granted]
            times = sorted(one.first_token - one.request.at for one in served)
            row |= {f"{name} P50, s": percentile(times, 50), f"{name} P99, s": percentile(times, 99)}
            row |= {f"{name} refused": len(mine) - len(served)}
        yield row


def _overload(policy: PolicyName, load: float, mix: Mix, **settings: Any) -> Replay:
    model = EngineModel()
    gateway = GatewaySettings.model_validate(
        {
            **settings,
            "engines": [{"url": "http://engine-0", "max_in_flight": model.max_running, "kv_tokens": model.kv_tokens}],
            "tenants": [{"name": name} for name in mix.tenants if name],
        }
    )
    rate = load * model.capacity(*mean_lengths(), model.max_running)
    return replay(poisson(rate, 600.0, mix, seed=0), policy, gateway, model)


def _ttft(result: Replay, name: str) -> float:
    mine = [one for one in result.sequences if one.request.class_name == name and one.granted == one.granted]
    return percentile(sorted(one.first_token - one.request.at for one in mine), 99)


def _refused(result: Replay, name: str) -> int:
    return sum(1 for one in result.sequences if one.request.class_name == name and one.granted != one.granted)


COUNTS: dict[str, Callable[[], Iterable[Row]]] = {
    "batching": batching,
    "budgets": budgets,
    "gaps": gaps,
    "answers": answers,
    "blocks": blocks,
    "pressure": pressure,
    "pools": pools,
    "victims": victims,
    "queue": queue,
    "policies": policies,
    "fairness": fairness,
}


if __name__ == "__main__":
    main(COUNTS, __doc__, HERE)
