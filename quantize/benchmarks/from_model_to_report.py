"""Time the one command: from the shipped model to a report on four methods.

    python quantize/benchmarks/from_model_to_report.py [--check]

Everything is done: quantise, evaluate on all items, measure behind the engine, and report. The bar is ten minutes on
two cores; the results have the command's wall time and the CPU time of all its processes. Speeds are not kept, since
they hold for a quiet machine only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from llm_measure.processes import ENVIRONMENT, ROOT
from llm_measure.results import check, machine, write
from llm_quantize.report.judgement import judge
from llm_quantize.report.results import ModelResult, read_results

MODEL = ROOT / "models" / "main"
METHODS = "gptq,awq,w8a8,fp8"
BATCHES = (1, 8)
LONGEST = 600.0


def run(out: Path) -> dict[str, float]:
    """Run the command and return its wall and CPU seconds. SystemExit if it fails."""
    command = [sys.executable, "-m", "llm_quantize", "run", str(MODEL), "--methods", METHODS, "--eval", "--bench"]
    command += ["--batches", ",".join(map(str, BATCHES)), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | ENVIRONMENT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"llm-quantize ended with status {process.returncode}")
    return {"seconds": time.perf_counter() - started, "cpu_seconds": used.ru_utime + used.ru_stime}


def describe(result: ModelResult, change: tuple[float, float, float] | None) -> dict[str, Any]:
    """Return a method's figures; `change`: of perplexity, and the ends of its interval."""
    return {
        "weight_bytes": result.bytes,
        "perplexity": result.evaluation.scores["perplexity"].figure().value,
        "change": change,
        "quantising_seconds": result.record.get("seconds"),
        "evaluation_seconds": result.evaluation.seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="end with status 1 if the bar is broken")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "model": MODEL.name}
    with tempfile.TemporaryDirectory(prefix="llm-quantize-") as scratch:
        found |= run(Path(scratch))
        (judgement,) = judge(read_results(Path(scratch)))
    found["methods"] = {"full": describe(judgement.full, None)}
    for one in judgement.methods:
        loss = one.primary.loss
        found["methods"][one.method] = describe(one.result, (loss.value, loss.low, loss.high))
    holds = check(found, {"seconds from the model to the report": (found["seconds"], "<=", LONGEST)})
    print(write(__file__, found))
    return 0 if holds or not arguments.check else 1


if __name__ == "__main__":
    raise SystemExit(main())
