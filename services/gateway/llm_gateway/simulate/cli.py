"""`llm-gateway simulate`: read or generate a trace, replay it under each policy, and print a table.

Classes, tenants, queue bounds, aging and engines come from --config, the gateway's own file. Without it, the gateway's
defaults apply, with --engines engines. The parameters of the engine model are flags: measure your engine to set them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from llm_contract.settings import InvalidSettings, read
from llm_gateway.scheduling.policies import POLICY_NAMES, PolicyName
from llm_gateway.settings import GatewaySettings
from llm_gateway.simulate.engine_model import EngineModel
from llm_gateway.simulate.events import replay
from llm_gateway.simulate.load import Mix, TraceRequest, load_requests
from llm_gateway.simulate.summary import ClassRow, summarise
from llm_gateway.simulate.synthetic import mean_lengths, poisson
from llm_traces import TraceError

PROG = "llm-gateway simulate"
DEFAULT_MIX = {"interactive": 0.5, "standard": 0.3, "batch": 0.2}
HEADER = ("policy", "class", "requests", "rejected", "TTFT P50", "P99", "SLO", "max wait", "output tokens", "Jain")


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    try:
        settings, model = _gateway(arguments), _model(arguments)
        trace = _trace(arguments, settings, model)
    except (TraceError, InvalidSettings, ValueError) as error:
        sys.exit(f"{PROG}: {error}")
    _print_trace(trace)
    weights = {tenant.name: tenant.weight for tenant in settings.tenants}
    rows: list[ClassRow] = []
    for policy in arguments.policy:
        start = time.perf_counter()
        result = replay(trace, policy, settings, model, seed=arguments.seed)
        rows += summarise(result, settings.classes, weights)
        print(f"{policy}: {result.ended:,.0f} s in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    print(table(rows))
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(_document(arguments, model, rows), option=orjson.OPT_INDENT_2))


def table(rows: Sequence[ClassRow]) -> str:
    """Return the rows as text in aligned columns, with a header."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if index < 2 else cell.rjust(width) for index, (cell, width) in enumerate(line))
        for line in (zip(row, widths, strict=True) for row in cells)
    )


def _cells(row: ClassRow) -> tuple[str, ...]:
    return (
        row.policy,
        row.name,
        f"{row.requests:,}",
        f"{row.rejected:,}",
        _seconds(row.ttft_p50),
        _seconds(row.ttft_p99),
        f"{row.attainment:.1%}",
        _seconds(row.longest_wait),
        f"{row.output_tokens:,}",
        "-" if row.jain is None else f"{row.jain:.3f}",
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _print_trace(trace: Sequence[TraceRequest]) -> None:
    seconds = max(trace[-1].at, 1e-9)
    tokens = sum(request.output_tokens for request in trace)
    print(f"{len(trace):,} requests in {seconds:,.0f} s, {len(trace) / seconds:.2f}/s, {tokens:,} output tokens")


def _document(arguments: argparse.Namespace, model: EngineModel, rows: Sequence[ClassRow]) -> dict[str, Any]:
    source = arguments.trace.name if arguments.trace else arguments.synthetic
    return {
        "source": source,
        "seed": arguments.seed,
        "engine_model": dataclasses.asdict(model),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _gateway(arguments: argparse.Namespace) -> GatewaySettings:
    """Return the gateway's settings: those of the file, with the engines and tenants that the flags ask for."""
    flags = ["--config", str(arguments.config)] if arguments.config else []
    if arguments.engines or not arguments.config:
        slots = arguments.max_in_flight or arguments.max_running
        engine = {"max_in_flight": slots, "kv_tokens": arguments.kv_tokens}
        engines = [{"url": f"http://engine-{index}", **engine} for index in range(arguments.engines or 1)]
        flags += ["--engines", orjson.dumps(engines).decode()]
    if arguments.tenants:
        tenants = [{"name": name, "weight": weight} for name, weight in arguments.tenants.items()]
        flags += ["--tenants", orjson.dumps(tenants).decode()]
    return read(GatewaySettings, prog=PROG, argv=flags)


def _model(arguments: argparse.Namespace) -> EngineModel:
    names = [field.name for field in dataclasses.fields(EngineModel)]
    return EngineModel(**{name: getattr(arguments, name) for name in names})


def _trace(arguments: argparse.Namespace, settings: GatewaySettings, model: EngineModel) -> list[TraceRequest]:
    names = {cls.name for cls in settings.classes}
    tenants = [tenant.name for tenant in settings.tenants] or [""]
    mix = Mix(arguments.mix, dict.fromkeys(tenants, 1.0))
    if arguments.trace:
        trace, recorded = load_requests(arguments.trace, mix, arguments.seed)
        if recorded.notice:
            print(f"{PROG}: {recorded.notice}", file=sys.stderr)
    else:
        trace = poisson(_rate(arguments, settings, model), arguments.duration, mix, arguments.seed)
    unknown = {request.class_name for request in trace} - names
    if unknown or not trace:
        wrong = f"no such class: {', '.join(sorted(unknown))}; the classes are {', '.join(sorted(names))}"
        raise TraceError(wrong if unknown else "the trace is empty; ask for a longer duration")
    return trace


def _rate(arguments: argparse.Namespace, settings: GatewaySettings, model: EngineModel) -> float:
    """Return the request rate: as given, or as a multiple of the engines' capacity for this mix."""
    if arguments.rate is not None:
        return float(arguments.rate)
    batches = (min(engine.max_in_flight, model.max_running) for engine in settings.engines)
    return float(arguments.load * sum(model.capacity(*mean_lengths(), batch) for batch in batches))


def _policies(text: str) -> list[PolicyName]:
    names = {str(name): name for name in POLICY_NAMES}
    if unknown := [name for name in text.split(",") if name not in names]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; the policies are {', '.join(POLICY_NAMES)}")
    return [names[name] for name in text.split(",")]


def _parts(text: str) -> dict[str, float]:
    """Parse `a=0.5,b=2`: a positive number for each name."""
    try:
        parts = {name: float(number) for name, number in (item.split("=") for item in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be written as interactive=0.5,batch=0.5") from None
    if not all(0 < part < float("inf") for part in parts.values()):
        raise argparse.ArgumentTypeError(f"{text!r}: every number must be positive")
    return parts


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a positive number")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Replay a trace under several policies in virtual time.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--trace", type=Path, help="Azure or BurstGPT CSV, Mooncake JSONL, llm-bench result.json")
    source.add_argument(
        "--synthetic", choices=("poisson",), help="arrival process, with lengths from Azure's conversation trace"
    )
    parser.add_argument("--policy", type=_policies, default="fcfs,composite", help="names, joined by commas")
    parser.add_argument("--config", type=Path, help="the gateway's YAML file")
    parser.add_argument("--json", type=Path, help="file for the rows, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--mix", type=_parts, default=DEFAULT_MIX, help="share of each class, if the trace has no classes"
    )
    parser.add_argument("--tenants", type=_parts, help="weight of each tenant; each sends the same load")
    load = parser.add_argument_group("synthetic load")
    volume = load.add_mutually_exclusive_group()
    volume.add_argument("--rate", type=_positive, help="requests per second")
    volume.add_argument(
        "--load", type=_positive, default=1.0, help="request rate as a multiple of the engines' capacity"
    )
    load.add_argument("--duration", type=_positive, default=600.0, help="seconds")
    engine = parser.add_argument_group("engines")
    engine.add_argument("--engines", type=_count, help="number of engines, in place of the file's")
    engine.add_argument("--max-in-flight", type=_count, help="most requests at an engine; default: --max-running")
    model = EngineModel()
    engine.add_argument("--itl-base", type=_positive, default=model.itl_base, help="seconds per decode step")
    engine.add_argument(
        "--itl-slope", type=_positive, default=model.itl_slope, help="additional seconds per sequence in the batch"
    )
    engine.add_argument("--prefill", type=_positive, default=model.prefill, help="seconds per prompt token")
    engine.add_argument("--kv-tokens", type=_count, default=model.kv_tokens, help="capacity of the KV cache")
    engine.add_argument("--max-running", type=_count, default=model.max_running, help="most sequences in a batch")
    return parser
