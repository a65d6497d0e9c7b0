"""The command line: the commands and their arguments; `commands` carries them out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from llm_bench import __version__, arguments, commands
from llm_bench.errors import BenchError

PROG = "llm-bench"
DEFAULT_SCENARIO = Path(__file__).with_name("default.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0: done; 1: failed (the reason is on stderr); 2: wrong usage; 3: a --fail-if condition holds; 130: interrupted.
    """
    parser = _parser()
    asked = _parse(parser, argv)
    if asked.command is None:
        parser.print_help()
        return commands.DONE
    unnamed = "out" in asked and asked.out is None
    if unnamed:
        asked.out = commands.default_folder()
    status, message = _carry_out(asked)
    if unnamed and asked.out.exists():
        print(f"Results: {asked.out}")
    if message:
        print(f"{PROG}: {message}", file=sys.stderr)
    return status


def _carry_out(asked: argparse.Namespace) -> tuple[int, str]:
    """Return the exit status, and a message if the command did not finish."""
    try:
        status: int = asked.command(asked)
    except BenchError as error:
        return commands.FAILED, str(error)
    except KeyboardInterrupt:
        return commands.INTERRUPTED, "interrupted"
    return status, "interrupted; what was measured is kept" if status == commands.INTERRUPTED else ""


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments. A scenario can also follow the options, where argparse overlooks an optional argument."""
    asked, rest = parser.parse_known_args(argv)
    if len(rest) == 1 and not rest[0].startswith("-") and getattr(asked, "scenario", None) is DEFAULT_SCENARIO:
        asked.scenario = Path(rest[0])
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return asked


Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Open-loop load for OpenAI-compatible servers.",
        epilog=f"A first look at a server: {PROG} run --target http://127.0.0.1:8000",
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    parser.set_defaults(command=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")

    for add in COMMANDS:
        add(subparsers)
    return parser


def _run(subparsers: Subparsers) -> None:
    run = subparsers.add_parser("run", help="send a scenario's load and measure it")
    _add_scenario(run)
    _add_target(run)
    _add_rate(run)
    _add_load(run)
    _add_fail_if(run)
    _add_out(run, "gets result.json and requests.csv")
    run.add_argument("--name", help="the run's label in tables and reports")
    run.add_argument(
        "--repeat", type=arguments.count, default=1, help="runs, in DIR/1, DIR/2, …; prints means with intervals"
    )
    run.add_argument("--baseline", type=Path, metavar="DIR", help="the result that --fail-if compares with")
    run.set_defaults(command=commands.run)


def _replay(subparsers: Subparsers) -> None:
    replay = subparsers.add_parser(
        "replay", help="send a recorded load: Azure, BurstGPT, Mooncake or our own JSON lines"
    )
    replay.add_argument("trace", type=Path, metavar="TRACE")
    _add_target(replay)
    _add_rate(replay)
    _add_load(replay)
    replay.add_argument(
        "--speed", type=arguments.positive, default=1.0, help="recorded seconds per second (default: 1)"
    )
    replay.add_argument(
        "--length-scale", type=arguments.positive, default=1.0, help="multiplies prompt and output lengths"
    )
    _add_out(replay, "gets result.json and requests.csv")
    replay.add_argument("--name", help="the run's label in tables and reports")
    replay.set_defaults(command=commands.replay)


def _compare(subparsers: Subparsers) -> None:
    compare = subparsers.add_parser(
        "compare", help="run two targets in turn and say whether B differs from A, and by how much"
    )
    compare.add_argument("scenario", type=Path, metavar="SCENARIO.yaml")
    compare.add_argument("targets", nargs=2, metavar="URL", help="A, then B")
    _add_prompts(compare)
    _add_rate(compare)
    _add_load(compare)
    _add_fail_if(compare)
    _add_out(compare, "gets compare.json and every run")
    compare.add_argument("--names", nargs=2, default=["A", "B"], metavar="NAME", help="labels (default: A B)")
    keys = "environment variables that hold the API keys of A and of B (default: OPENAI_API_KEY, if it is set)"
    compare.add_argument("--api-key-env", type=arguments.variable, nargs=2, metavar="NAME", help=keys)
    compare.add_argument("--pairs", type=arguments.pairs, default=6, help="runs of each target (default: %(default)s)")
    compare.set_defaults(command=commands.compare)


def _sweep(subparsers: Subparsers) -> None:
    sweep = subparsers.add_parser("sweep", help="one scenario at several rates: how latency grows with throughput")
    _add_scenario(sweep)
    _add_target(sweep)
    _add_load(sweep)
    sweep.add_argument(
        "--rates", type=arguments.rates, required=True, metavar="R,R,…", help="requests per second: 2,4,8,16"
    )
    sweep.add_argument("--repeat", type=arguments.count, default=1, help="runs at each rate (default: %(default)s)")
    _add_out(sweep, "gets sweep.html and every run")
    sweep.add_argument("--name", help="the label in tables and reports")
    sweep.set_defaults(command=commands.sweep, rate=None, rate_scale=None)


def _saturate(subparsers: Subparsers) -> None:
    saturate = subparsers.add_parser("saturate", help="find the highest rate at which the target meets the SLOs")
    _add_scenario(saturate)
    _add_target(saturate)
    _add_rate(saturate)
    _add_load(saturate)
    goal = "share of each class's requests within its SLO (default: %(default)s)"
    saturate.add_argument("--goal", type=arguments.share, default=0.99, help=goal)
    near = "relative distance at which the search ends: 0.05 is 5%% (default: %(default)s)"
    saturate.add_argument("--precision", type=arguments.positive, default=0.05, help=near)
    tries = "runs at each rate; the majority decides (default: %(default)s)"
    saturate.add_argument("--repeat", type=arguments.odd, default=3, help=tries)
    _add_out(saturate, "gets knee.json and every run")
    saturate.set_defaults(command=commands.saturate, name=None)


def _capacity(subparsers: Subparsers) -> None:
    capacity = subparsers.add_parser("capacity", help="measure the target's throughput at saturation; prints JSON")
    _add_scenario(capacity)
    _add_target(capacity)
    capacity.add_argument(
        "--users", type=arguments.count, default=32, help="requests kept running (default: %(default)s)"
    )
    capacity.add_argument("--duration", type=arguments.positive, default=10.0, help="seconds (default: %(default)s)")
    capacity.set_defaults(command=commands.capacity)


def _report(subparsers: Subparsers) -> None:
    report = subparsers.add_parser("report", help="put runs side by side; ratios are to the first")
    report.add_argument("results", nargs="+", type=Path, metavar="DIR")
    report.add_argument("--html", type=Path, metavar="FILE", help="one self-contained page")
    report.add_argument("--json", type=Path, metavar="FILE", help="the same as data")
    report.add_argument("--markdown", type=Path, metavar="FILE", help="the table and the verdicts, for a pull request")
    report.add_argument("--title")
    report.set_defaults(command=commands.report)


def _worker(subparsers: Subparsers) -> None:
    worker = subparsers.add_parser("worker")  # a process of `run --workers`, which starts it by itself
    worker.add_argument("master", metavar="HOST:PORT")
    worker.set_defaults(command=commands.worker)


def _schema(subparsers: Subparsers) -> None:
    schema = subparsers.add_parser("schema", help="print the JSON schema of result.json")
    schema.set_defaults(command=commands.schema)


COMMANDS = (_run, _replay, _compare, _sweep, _saturate, _capacity, _report, _worker, _schema)
"""In the order of --help."""


def _add_out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"{what} (default: {commands.OUT}/TIME)")


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    help = "default: a few short requests, %(default)s"
    parser.add_argument("scenario", nargs="?", type=Path, metavar="SCENARIO.yaml", default=DEFAULT_SCENARIO, help=help)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, metavar="URL", help="an OpenAI-compatible server")
    help = "environment variable that holds the target's API key (default: OPENAI_API_KEY, if it is set)"
    parser.add_argument("--api-key-env", type=arguments.variable, metavar="NAME", help=help)
    _add_prompts(parser)


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="default: the first that the target lists")
    parser.add_argument("--seed", type=arguments.seed, help="of the schedule, instead of the scenario's")
    parser.add_argument("--tokenizer", type=Path, metavar="tokenizer.json", help="cuts prompts to exact token counts")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="text that prompts are cut from")


def _add_rate(parser: argparse.ArgumentParser) -> None:
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--rate", type=arguments.positive, help="requests per second instead of the scenario's")
    rate.add_argument("--rate-scale", type=arguments.positive, help="multiplies the scenario's rate")


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--duration", type=arguments.positive, help="seconds in which requests arrive, instead of the scenario's"
    )
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave bad rows of a trace or prompt file out")
    parser.add_argument("--salt", help="reuse another run's salt to send its exact prompts (default: random)")
    help = "the server's metrics, if they are not at TARGET/metrics; once for each engine behind a gateway"
    parser.add_argument("--metrics", action="append", default=[], metavar="URL", help=help)
    help = "processes that share the load, if one core cannot send it (default: %(default)s)"
    parser.add_argument("--workers", type=arguments.count, default=1, help=help)
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")


def _add_fail_if(parser: argparse.ArgumentParser) -> None:
    help = "ends with status 3 if it holds: 'ttft_p99 > 1.05x baseline', 'chat.tpot_p50 > 40ms'; repeatable"
    parser.add_argument("--fail-if", action="append", default=[], metavar="CONDITION", help=help.replace("%", "%%"))
