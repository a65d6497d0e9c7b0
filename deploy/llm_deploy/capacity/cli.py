"""`./lab capacity`: the arithmetic of docs/operations/capacity.md with your numbers."""

from __future__ import annotations

import argparse
import math
from typing import Any

from llm_deploy.capacity.plan import Engine, Load, Plan, Shape, plan
from llm_deploy.errors import UsageError
from llm_report import units
from llm_report.markdown import table


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("capacity", help="engines that a load needs: KV cache, concurrency, queueing margin")
    parser.add_argument("model", help="folder with config.json, or LAYERSxKV_HEADSxHEAD_DIM")
    parser.add_argument("--kv-memory", type=float, required=True, metavar="GB", help="memory left for the KV cache")
    parser.add_argument("--tokens-per-second", type=float, required=True, help="measured output of one engine")
    parser.add_argument("--rate", type=float, required=True, help="requests per second in the busiest minutes")
    parser.add_argument("--prompt", type=int, required=True, help="mean prompt tokens")
    parser.add_argument("--output", type=int, required=True, help="mean output tokens")
    parser.add_argument("--max-sequences", type=int, default=256, help="the engine's --max-num-seqs")
    parser.add_argument("--element-bytes", type=int, default=2, help="2: bf16, 1: fp8 KV cache, 4: fp32")
    parser.add_argument("--wait", type=float, default=0.5, help="seconds that a request may wait for a slot …")
    parser.add_argument("--objective", type=float, default=0.99, help="… in this share of requests")
    parser.add_argument("--spare", type=int, default=1, help="engines that can fail (N + spare)")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    positive = ("kv_memory", "tokens_per_second", "rate", "prompt", "output", "max_sequences", "element_bytes", "wait")
    for name in positive:
        if not 0 < getattr(arguments, name) < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; it must be above 0 and finite")
    if not 0 < arguments.objective < 1:
        raise UsageError(f"--objective is {arguments.objective}; it is a share between 0 and 1, as in 0.99")
    if arguments.spare < 0:
        raise UsageError(f"--spare is {arguments.spare}; it must be 0 or more")
    engine = Engine(
        kv_memory=arguments.kv_memory * 1e9,
        tokens_per_second=arguments.tokens_per_second,
        max_sequences=arguments.max_sequences,
    )
    load = Load(
        rate=arguments.rate,
        prompt=arguments.prompt,
        output=arguments.output,
        wait=arguments.wait,
        objective=arguments.objective,
    )
    found = plan(Shape.read(arguments.model), arguments.element_bytes, engine, load)
    print(table(("", "", ""), _rows(found, load, arguments.spare), left=2))


def _rows(found: Plan, load: Load, spare: int) -> list[tuple[str, str, str]]:
    return [
        ("KV cache of one token", "2 x layers x KV heads x head dim x bytes", units.size(found.kv_bytes)),
        ("tokens that fit", "KV memory / that", f"{found.kv_tokens:,}"),
        ("concurrency of an engine", "tokens / (prompt + output), at most max_sequences", f"{found.concurrency}"),
        ("a request holds its slot", "output x concurrency / tokens per second", f"{found.seconds:.1f} s"),
        ("offered load", "rate x that", f"{found.offered:.0f} slots"),
        (f"engines for {load.objective:.0%} within {load.wait:g} s", "Erlang C", f"**{found.replicas}**"),
        ("utilisation then", "offered / slots", f"{found.utilisation:.0%}"),
        ("wait longer", "", f"{found.late:.2%}"),
        (f"with {spare} to spare", f"N + {spare}", f"**{found.replicas + spare}**"),
    ]
