"""One scenario against everything that serves the model: our engine, vLLM, our gateway's policies before our engine.

    .venv/bin/python bench/benchmarks/baselines.py [--rate 6] [--seconds 40] [--no-write]

Each target is started by itself, warmed up by a short run, and sent the same schedule, with prompts that no cache has
seen. vLLM (its build for CPUs, from `./lab vllm`) runs with its defaults, but in bfloat16 and without compilation, as
it must on a CPU, and only if it is installed. The engine behind the gateway computes eight requests at a time, so that
above its capacity a queue stands in the gateway, whose policy then decides who waits.

Writes every run to out/baselines/NAME, a report over all of them to out/baselines/report.html, and the figures with the
machine's fingerprint to bench/results/baselines.json.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from benchmarks.bars import ROOT, Bar, check, describe_machine, write
from benchmarks.programs import Server, bench, command, end_on_sigterm, free_port, serving

from llm_bench.report import write_report
from llm_bench.results.result import Result

SCENARIO = ROOT / "bench" / "scenarios" / "mixed-priority.yaml"
MODEL = ROOT / "models" / "main"
OUT = ROOT / "out" / "baselines"
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"
VLLM_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
POLICIES = ("fcfs", "priority", "composite")
SLOTS = 8
"""Requests that the engine behind the gateway computes at once."""
WARM_UP = 5.0
"""Seconds."""


def engine(*flags: str) -> AbstractContextManager[Server]:
    return serving("-m", "llm_engine", "serve", str(MODEL), "--served-model-name", "main", "--port", "0", *flags)


def vllm() -> AbstractContextManager[Server]:
    port = free_port()
    flags = ("--served-model-name", "main", "--host", "127.0.0.1", "--port", str(port))
    argv = (str(VLLM), "serve", str(MODEL), *flags, "--dtype", "bfloat16", "--enforce-eager")
    return command(argv, f"http://127.0.0.1:{port}", VLLM_ENVIRONMENT)


@contextmanager
def gateway(policy: str) -> Iterator[Server]:
    with (
        engine("--max-num-seqs", str(SLOTS)) as behind,
        serving("-m", "llm_gateway", "--engines", behind.url, "--port", "0", "--policy", policy) as front,
    ):
        yield front


def targets() -> Iterator[tuple[str, AbstractContextManager[Server]]]:
    yield "llm-engine", engine()
    if VLLM.exists():
        yield "vllm", vllm()
    else:
        print("  vLLM is not installed (./lab vllm): left out")
    for policy in POLICIES:
        yield f"gateway-{policy}", gateway(policy)


def measure(name: str, server: Server, rate: float, seconds: float) -> Result:
    flags = ("--target", server.url, "--rate", str(rate), "--tokenizer", str(MODEL / "tokenizer.json"))
    for folder, duration in ((OUT / f"{name}-warm-up", WARM_UP), (OUT / name, seconds)):
        result = bench("run", str(SCENARIO), *flags, "--duration", str(duration), "--name", name, out=folder)
    return result


def describe_run(result: Result) -> dict[str, Any]:
    return {
        "valid": result.verdict.valid,
        "reasons": result.verdict.reasons,
        "server_version": result.run.server_version,
        "fingerprint": result.environment.fingerprint,
        "load_average": result.environment.load_average,
        "classes": {
            name: {
                "requests": one.requests,
                "completed": one.completed,
                "ttft_p50": one.ttft.p50,
                "ttft_p99": one.ttft.p99,
                "tpot_p50": one.tpot.p50,
                "e2e_p50": one.e2e.p50,
                "slo_attainment": one.slo_attainment,
                "goodput": one.goodput,
                "output_tokens_per_second": one.output_tokens_per_second,
            }
            for name, one in result.summary.classes.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=6.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=40.0, help="of arrivals, for each target")
    parser.add_argument("--no-write", action="store_true", help="leave results/baselines.json as it is")
    arguments = parser.parse_args()
    end_on_sigterm()
    machine, results = describe_machine(), {}
    shutil.rmtree(OUT, ignore_errors=True)
    for name, target in targets():
        with target as server:
            results[name] = measure(name, server, arguments.rate, arguments.seconds)
        every = results[name].summary.classes["all"]
        print(
            f"  {name:<18} {every.output_tokens_per_second:7.1f} tokens/s, SLO met {every.slo_attainment or 0:.0%}",
            flush=True,
        )
    write_report(list(results.values()), title="Baselines", html=OUT / "report.html", markdown=OUT / "report.md")
    bars = [Bar("runs that are VALID", sum(one.verdict.valid for one in results.values()), ">=", len(results))]
    held = check(bars)
    if not arguments.no_write:
        found = {
            "scenario": SCENARIO.name,
            "rate": arguments.rate,
            "seconds": arguments.seconds,
            "targets": {name: describe_run(result) for name, result in results.items()},
        }
        print(write("baselines", machine, bars, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
