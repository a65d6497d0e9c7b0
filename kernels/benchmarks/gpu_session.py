"""One run on a GPU that answers: which kernels are right, how fast are they, where does the time go.

    python kernels/benchmarks/gpu_session.py --out DIR --seconds 240

Needs no installation. Every step runs in processes of its own with a time limit; one that fails or hangs is noted, and
the next goes on. In order of value:

    build         every CUDA source with nvcc, in parallel
    correctness   every implementation on every small workload, every rung, in parallel; kernels of CUDA each in a
                  process of their own, since a fault ends its process; this also fills the compilers' caches
    tune          the candidates of the Triton kernels, timed
    bench         every op at the shapes of serving, against the libraries and the measured ceilings
    ladders       every rung that is right
    profile       ncu on every rung, and on a few ops

Writes correctness.json, tuning.json, bench.json, ladders.json, profiles.json and .txt, roofline.svg, log.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KERNELS = Path(__file__).resolve().parents[1]
PATHS = [str(KERNELS), str(KERNELS.parent / "libs" / "report")]
"""Where the packages are: the session runs from a checkout, without installation."""
STEPS = Path(__file__).with_name("session_steps.py")
SHARDS = 12
PROFILED = (
    "flash_attention/triton/b4", "paged_attention/triton/64x", "paged_attention/triton/1x", "w4a16_gemm/cuda/64x4096",
    "scaled_gemm/cuda/4096", "rms_norm/triton/8192x4096", "silu_and_mul/triton", "sample_top_k_top_p/triton/128x",
)  # fmt: skip
"""Besides every rung of every ladder."""


@dataclass
class Session:
    out: Path
    deadline: float
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, name: str, *arguments: str, limit: float) -> bool:
        """Run one step in a process group of its own, which is killed at the limit. Its output goes to log.txt."""
        limit = min(limit, self.left)
        if limit < 2:
            self.steps.append({"step": name, "seconds": 0, "outcome": "no time left"})
            return False
        begun = time.monotonic()
        command = [sys.executable, str(STEPS), *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=limit)
                outcome = "done" if process.returncode == 0 else f"exit status {process.returncode}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                outcome = f"killed after {limit:.0f} s"
        seconds = round(time.monotonic() - begun, 1)
        self.steps.append(
            {"step": name, "seconds": seconds, "outcome": outcome, "end": output[-600:] if outcome != "done" else ""}
        )
        with (self.out / "log.txt").open("a") as log:
            log.write(f"==> {name}: {outcome}, {seconds} s\n{output[-20_000:]}\n")
        print(f"{name:32} {outcome:22} {seconds:6.1f} s", flush=True)
        return outcome == "done"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    scratch = out.parent / f"{out.name}-scratch"
    for folder in (out, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LLM_KERNELS_CACHE", str(scratch / "cache"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(scratch / "triton"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(scratch / "inductor"))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # the shards are enough processes
    session = Session(out, time.monotonic() + arguments.seconds)
    try:
        _run(session, out, scratch, arguments.seconds)
    finally:
        for part in out.glob("*.part"):  # of a step that was killed while it wrote
            part.unlink()
    _print_results(out)


def _run(session: Session, out: Path, scratch: Path, seconds: float) -> None:
    session.run("build", "build", limit=0.25 * seconds)
    _correctness(session, out, scratch, limit=0.35 * seconds)
    common = (str(out / "correctness.json"), str(scratch / "ceilings.json"))
    session.run("ceilings", "ceilings", common[1], limit=40)
    session.run("tune", "tune", *common, str(out / "tuning.json"), limit=0.12 * seconds)
    session.run("bench", "bench", *common, str(out / "bench.json"), limit=max(20.0, session.left - 0.3 * seconds))
    session.run("ladders", "ladders", *common, str(out / "ladders.json"), limit=max(10.0, session.left - 0.2 * seconds))
    rungs = [f"ladder:{p.parent.name}/{p.stem}" for p in _rungs()]
    for targets in (rungs[: len(rungs) // 2], rungs[len(rungs) // 2 :], PROFILED):
        if session.left > 15:
            limit = min(60.0, session.left)
            arguments = (str(out / "profiles"), str(int(limit) - 3), *targets)
            session.run(f"profile {targets[0]} and others", "profile", *arguments, limit=limit)


def _correctness(session: Session, out: Path, scratch: Path, limit: float) -> None:
    """Run all shards at once, then the isolated cases a few at a time, so that a hang costs only itself."""
    begun = time.monotonic()
    jobs = [("shard", str(index), str(SHARDS), str(scratch / f"shard-{index}.jsonl")) for index in range(SHARDS)]
    jobs += [("isolated", name, str(scratch / f"isolated-{name.replace('/', '-')}.jsonl")) for name in _isolated()]
    with ThreadPoolExecutor(SHARDS + 8) as threads:
        list(
            threads.map(
                lambda job: session.run(" ".join(job[:2]), *job, limit=limit - (time.monotonic() - begun)), jobs
            )
        )
    rows = []
    for path in sorted(scratch.glob("*.jsonl")):
        rows += [json.loads(line) for line in path.read_text().splitlines() if line]
    wrong = [row for row in rows if row["wrong"]]
    summary: dict[str, dict[str, int]] = {}
    for row in rows:
        counts = summary.setdefault(f"{row['op']} {row['implementation']}", {"right": 0, "wrong": 0})
        counts["wrong" if row["wrong"] else "right"] += 1
    document = {
        "summary": summary,
        "wrong": wrong,
        "unfinished": [s["step"] for s in session.steps if s["outcome"] != "done"],
        "rows": rows,
    }
    (out / "correctness.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"correctness: {len(rows) - len(wrong)} right, {len(wrong)} wrong", flush=True)


def _isolated() -> list[str]:
    """Return the cases that could fault or hang: ops with a CUDA implementation, and rungs."""
    ops = ("flash_attention", "gemm", "scaled_gemm", "w4a16_gemm")
    return [*(f"op/{op}" for op in ops), *(f"{p.parent.name}/{p.stem}" for p in _rungs())]


def _rungs() -> list[Path]:
    return sorted(p for p in (KERNELS / "ladders").glob("*/[0-9][0-9]_*") if p.suffix in (".cu", ".py"))


def _print_results(out: Path) -> None:
    sys.path[:0] = PATHS
    from llm_kernels.bench import report

    for name in ("ladders", "bench"):
        path = out / f"{name}.json"
        if path.exists():
            print(f"\n{report.table(json.loads(path.read_text())['rows'])}")
    path = out / "correctness.json"
    if path.exists():
        for row in json.loads(path.read_text())["wrong"][:40]:
            print(f"WRONG {row['op']} {row['implementation']} {row['shape']}: {row['wrong'][:160]}")


if __name__ == "__main__":
    main()
