"""The command line: what can be asked, and how; `commands` does it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llm_bench import commands
from llm_bench.credentials import WHAT_A_NAME_IS, is_variable_name
from llm_bench.errors import BenchError


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 could not be done (the reason is on stderr), 2 wrong usage, 3 a --fail-if condition holds,
    130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except BenchError as error:
        print(f"llm-bench: {error}", file=sys.stderr)
        return commands.FAILED
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llm-bench", description="Open-loop load for OpenAI-compatible servers.")
    subparsers = parser.add_subparsers(
        required=True, metavar="run|compare|replay|sweep|saturate|capacity|report|schema"
    )

    run = subparsers.add_parser("run", help="send a scenario's load and measure it")
    _add_scenario(run)
    _add_target(run)
    _add_rate(run)
    _add_load(run)
    _add_gate(run)
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets result.json and requests.csv")
    run.add_argument("--name", help="the run's label in tables and reports")
    run.add_argument("--repeat", type=_count, default=1, help="runs, in DIR/1, DIR/2, …; prints means with intervals")
    run.add_argument("--baseline", type=Path, metavar="DIR", help="the result that --fail-if compares with")
    run.set_defaults(command=commands.run)

    replay = subparsers.add_parser(
        "replay", help="send a recorded load: Azure, BurstGPT, Mooncake or our own JSON lines"
    )
    replay.add_argument("trace", type=Path, metavar="TRACE")
    _add_target(replay)
    _add_rate(replay)
    _add_load(replay)
    replay.add_argument("--speed", type=_positive, default=1.0, help="recorded seconds per second (default: 1)")
    replay.add_argument("--length-scale", type=_positive, default=1.0, help="multiplies prompt and output lengths")
    replay.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets result.json and requests.csv")
    replay.add_argument("--name", help="the run's label in tables and reports")
    replay.set_defaults(command=commands.replay)

    compare = subparsers.add_parser("compare", help="two targets in turn: is B different from A, and by how much")
    _add_scenario(compare)
    compare.add_argument("targets", nargs=2, metavar="URL", help="A, then B")
    _add_prompts(compare)
    _add_rate(compare)
    _add_load(compare)
    _add_gate(compare)
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets compare.json and every run")
    compare.add_argument("--names", nargs=2, default=["A", "B"], metavar="NAME", help="labels (default: A B)")
    keys = "environment variables that hold the API keys of A and of B (default: OPENAI_API_KEY, if it is set)"
    compare.add_argument("--api-key-env", type=_variable, nargs=2, metavar="NAME", help=keys)
    compare.add_argument("--pairs", type=_pairs, default=6, help="runs of each target (default: %(default)s)")
    compare.set_defaults(command=commands.compare)

    sweep = subparsers.add_parser("sweep", help="one scenario at several rates: how latency grows with throughput")
    _add_scenario(sweep)
    _add_target(sweep)
    _add_load(sweep)
    sweep.add_argument("--rates", type=_rates, required=True, metavar="R,R,…", help="requests per second: 2,4,8,16")
    sweep.add_argument("--repeat", type=_count, default=1, help="runs at each rate (default: %(default)s)")
    sweep.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets sweep.html and every run")
    sweep.add_argument("--name", help="the label in tables and reports")
    sweep.set_defaults(command=commands.sweep, rate=None, rate_scale=None)

    saturate = subparsers.add_parser("saturate", help="find the highest rate at which the SLOs are met")
    _add_scenario(saturate)
    _add_target(saturate)
    _add_rate(saturate)
    _add_load(saturate)
    goal = "share of each class's requests within its SLO (default: %(default)s)"
    saturate.add_argument("--goal", type=_share, default=0.99, help=goal)
    near = "how close the rates that hold and fail come: 0.05 is 5%% (default: %(default)s)"
    saturate.add_argument("--precision", type=_positive, default=0.05, help=near)
    tries = "runs of which the majority decides at each rate (default: %(default)s)"
    saturate.add_argument("--repeat", type=_odd, default=3, help=tries)
    saturate.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets knee.json and every run")
    saturate.set_defaults(command=commands.saturate, name=None)

    capacity = subparsers.add_parser("capacity", help="measure what the target can do; prints JSON")
    _add_scenario(capacity)
    _add_target(capacity)
    capacity.add_argument("--users", type=_count, default=32, help="requests kept running (default: %(default)s)")
    capacity.add_argument("--duration", type=_positive, default=10.0, help="seconds (default: %(default)s)")
    capacity.set_defaults(command=commands.capacity)

    report = subparsers.add_parser("report", help="put runs side by side; ratios are to the first")
    report.add_argument("results", nargs="+", type=Path, metavar="DIR")
    report.add_argument("--html", type=Path, metavar="FILE", help="one self-contained page")
    report.add_argument("--json", type=Path, metavar="FILE", help="the same as data")
    report.add_argument("--markdown", type=Path, metavar="FILE", help="the table and the verdicts, for a pull request")
    report.add_argument("--title")
    report.set_defaults(command=commands.report)

    worker = subparsers.add_parser("worker", help="a process of `run --workers`, which starts it by itself")
    worker.add_argument("master", metavar="HOST:PORT")
    worker.set_defaults(command=commands.worker)

    schema = subparsers.add_parser("schema", help="print the JSON schema of result.json")
    schema.set_defaults(command=commands.schema)
    return parser


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", type=Path, metavar="SCENARIO.yaml")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, metavar="URL", help="an OpenAI-compatible server")
    help = "environment variable that holds the target's API key (default: OPENAI_API_KEY, if it is set)"
    parser.add_argument("--api-key-env", type=_variable, metavar="NAME", help=help)
    _add_prompts(parser)


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="default: the first that the target lists")
    parser.add_argument("--seed", type=_seed, help="of the schedule, instead of the scenario's")
    parser.add_argument("--tokenizer", type=Path, metavar="tokenizer.json", help="cuts prompts to exact token counts")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="text that prompts are cut from")


def _add_rate(parser: argparse.ArgumentParser) -> None:
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--rate", type=_positive, help="requests per second instead of the scenario's")
    rate.add_argument("--rate-scale", type=_positive, help="multiplies the scenario's rate")


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--duration", type=_positive, help="seconds in which requests arrive, instead of the scenario's"
    )
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave bad rows of a trace or prompt file out")
    parser.add_argument("--salt", help="makes the prompts the same as those of another run (default: random)")
    help = "the server's metrics, if they are not at TARGET/metrics; once for each engine behind a gateway"
    parser.add_argument("--metrics", action="append", default=[], metavar="URL", help=help)
    help = "processes that share the load, for more than one core can send (default: %(default)s)"
    parser.add_argument("--workers", type=_count, default=1, help=help)
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")


def _add_gate(parser: argparse.ArgumentParser) -> None:
    help = "ends with status 3 if it holds: 'ttft_p99 > 1.05x baseline', 'chat.tpot_p50 > 40ms'; may be given often"
    parser.add_argument("--fail-if", action="append", default=[], metavar="CONDITION", help=help.replace("%", "%%"))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def _variable(text: str) -> str:
    if not is_variable_name(text):
        raise argparse.ArgumentTypeError(WHAT_A_NAME_IS)
    return text


def _pairs(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, to know their spread, not {text}")
    return value


def _odd(text: str) -> int:
    value = _count(text)
    if value % 2 == 0:
        raise argparse.ArgumentTypeError(f"must be odd, so that there is a majority, not {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return value


def _rates(text: str) -> list[float]:
    return sorted(_positive(part) for part in text.split(","))
