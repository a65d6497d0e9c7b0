"""The steps of gpu_session.py, each run as `python session_steps.py STEP ARGUMENTS…` in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from llm_kernels import accuracy, workloads
from llm_kernels.bench import ceilings, ladder, report, runner
from llm_kernels.bench.environment import environment
from llm_kernels.bench.roofline import measured_roofline
from llm_kernels.bench.tune import MODULES, tune
from llm_kernels.cuda import build
from llm_kernels.dispatch import Implementation, why_not
from llm_kernels.ladders import LADDERS, rungs_of
from llm_kernels.ladders.base import check
from llm_kernels.profile import profile
from llm_kernels.workloads import Workload
from llm_kernels.workloads.base import short

FIRST = ("flash_attention", "paged_attention", "gemm", "w4a16_gemm", "scaled_gemm", "fused_add_rms_norm", "rms_norm",
         "sample_top_k_top_p", "rope_paged_kv_write", "silu_and_mul", "softmax", "rope")  # fmt: skip
"""Ops in the order in which their figures matter; the others follow."""


def run_build() -> None:
    sources = sorted(build.SOURCES.glob("*.cu"))
    sources += [r.path for name in LADDERS for r in rungs_of(name) if r.path.suffix == ".cu"]
    with ThreadPoolExecutor(16) as threads:
        for source, outcome in zip(sources, threads.map(_build_one, sources), strict=True):
            print(f"{source.parent.name}/{source.name}: {outcome}")


def _build_one(source: Path) -> str:
    try:
        return str(build.build(source))
    except Exception as error:  # noqa: BLE001 - the others go on
        return f"{type(error).__name__}: {error}"


def run_shard(index: str, count: str, path: str, start: str = "0") -> None:
    """Check Triton on small workloads; then call each large one and each candidate once, to fill Triton's cache.

    After a fault on the device its process can do nothing more there, so the process restarts after the case."""
    cases = [(w, w.definition()["triton"]) for w in workloads.small()][int(index) :: int(count)]
    with Path(path).open("a") as file:
        for place, (workload, implementation) in enumerate(cases[int(start) :], int(start)):
            row = _judged(workload, implementation)
            _note(file, row)
            if row["wrong"] and ("CUDA error" in row["wrong"] or "illegal" in row["wrong"]):
                os.execv(sys.executable, [sys.executable, __file__, "shard", index, count, path, str(place + 1)])
        for workload, run in list(_warm_ups())[int(index) :: int(count)]:
            try:
                run()
                torch.cuda.synchronize()
            except Exception as error:  # noqa: BLE001 - noted where it is measured
                print(f"warm-up {workload.name}: {type(error).__name__}: {str(error)[:300]}")
            torch.cuda.empty_cache()


def _warm_ups() -> Iterator[tuple[Workload, Callable[[], object]]]:
    import importlib

    for workload in workloads.large():
        implementation = workload.definition()["triton"]
        yield workload, lambda w=workload, i=implementation: i.run(*w.inputs(0, "cuda"))  # type: ignore[misc]
        if "torch.compile" in workload.libraries:
            yield workload, lambda w=workload: w.libraries["torch.compile"](*w.inputs(0, "cuda"))  # type: ignore[misc]
        if workload.op in MODULES:
            module = importlib.import_module(f"llm_kernels.triton_kernels.{MODULES[workload.op]}")
            args = workload.inputs(0, "meta")
            for candidate in module.candidates(workload.op, *args):
                launcher = getattr(module, workload.op)
                yield workload, lambda w=workload, f=launcher, c=candidate: f(*w.inputs(0, "cuda"), chosen=c)  # type: ignore[misc]


def run_isolated(name: str, path: str) -> None:
    group, which = name.split("/")
    with Path(path).open("w") as file:
        if group != "op":
            rung = next(r for r in rungs_of(group) if r.name == which)
            row: dict[str, Any] = {"op": f"ladder {group}", "implementation": which, "shape": "small", "dtype": "bf16"}
            _note(file, row | _guarded(lambda: _checked_rung(group, rung)))
            return
        for workload in workloads.small(which):
            implementation = workload.definition()["cuda"]
            if why_not(implementation, workload.inputs(0, "cuda")) is None:
                _note(file, _judged(workload, implementation))


def _checked_rung(name: str, rung: Any) -> tuple[float, str | None]:
    problem = LADDERS[name]
    return check(problem, rung, ladder.small_inputs(problem, "cuda"))


def _judged(workload: Workload, implementation: Implementation) -> dict[str, Any]:
    row = {
        "op": workload.op,
        "implementation": implementation.name,
        "shape": workload.label,
        "dtype": short(workload.dtype),
    }

    def judge() -> tuple[float, str | None]:
        args = workload.inputs(1, "cuda")
        if (reason := why_not(implementation, args)) is not None:
            return 0.0, None if reason.startswith(("needs", "is built", "reads", "hidden", "group")) else reason
        verdict = accuracy.judge(workload, implementation, args)
        torch.cuda.synchronize()
        return verdict.error, verdict.wrong

    return row | _guarded(judge)


def _guarded(judge: Callable[[], tuple[float, str | None]]) -> dict[str, Any]:
    try:
        error, wrong = judge()
        return {"error": error, "wrong": wrong}
    except Exception as error:  # noqa: BLE001 - a failure is a result
        return {
            "error": None,
            "wrong": f"{type(error).__name__}: {error}"[:500],
            "trace": traceback.format_exc()[-1500:],
        }


def _note(file: Any, row: dict[str, Any]) -> None:
    file.write(json.dumps(row) + "\n")
    file.flush()


def run_ceilings(path: str) -> None:
    Path(path).with_name("environment.json").write_text(json.dumps(environment()))
    limits = ceilings.measure_ceilings()
    Path(path).write_text(json.dumps(limits.as_json()))
    print(limits)


def run_tune(correctness: str, limits: str, path: str) -> None:
    rows = []
    for workload in _ordered(correctness):
        if workload.op in MODULES and not (
            workload.op == "w4a16_gemm" and "fragments" in workload.label and workload.label.startswith("1x")
        ):
            lines: list[str] = []
            best = tune(workload, lines.append, budget_seconds=0.02)
            rows.append({"workload": workload.name, "best": best, "times": lines})
            _save(path, rows)
            torch.cuda.empty_cache()


def run_bench(correctness: str, limits: str, path: str) -> None:
    measured = _ceilings(limits)
    rows: list[dict[str, Any]] = []
    broken, where = _broken(correctness), environment()
    for workload in _ordered(correctness):
        try:
            for row in runner.run(workload, measured, budget_seconds=0.06, skip=broken):
                rows.append(row.as_json())
                print(report.table([rows[-1]]).splitlines()[1])
        except Exception as error:  # noqa: BLE001 - the next workload goes on
            print(f"{workload.name}: {type(error).__name__}: {error}")
        document = {
            "environment": where,
            "ceilings": measured.as_json(),
            "rows": rows,
        }
        _save(path, document)
        Path(path).with_name("roofline.svg").write_text(measured_roofline(rows, measured))
        torch.cuda.empty_cache()


def run_ladders(correctness: str, limits: str, path: str) -> None:
    measured, broken, where = _ceilings(limits), _broken(correctness), environment()
    rows: list[dict[str, Any]] = []
    for name in ("gemm", "attention", "w4a16_gemv", "paged_decode", "reduction", "rope"):
        problem = LADDERS[name]
        for rung in rungs_of(name):
            if (f"ladder {name}", rung.name) in broken:
                continue
            sizes = next((s for prefix, s in problem.slow_at.items() if rung.name.startswith(prefix)), problem.large)
            rows.append(ladder.run_rung(problem, rung, sizes, measured, 0.05))
            print(report.table([rows[-1]]).splitlines()[1])
            document = {
                "environment": where,
                "ceilings": measured.as_json(),
                "rows": rows,
            }
            _save(path, document)
        torch.cuda.empty_cache()


def run_profile(path: str, limit: str, *targets: str) -> None:
    """Add the profile to PATH.json, and in words to PATH.txt."""
    data, text = Path(f"{path}.json"), Path(f"{path}.txt")
    document = json.loads(data.read_text()) if data.exists() else {"environment": environment(), "profiles": []}
    for target, kernels in profile(*targets, limit_seconds=int(limit)).items():
        document["profiles"] += [{"target": target, "kernel": k.kernel, "counters": k.shown()} for k in kernels]
        with text.open("a") as file:
            file.write(f"# {target}\n" + "\n\n".join(k.summary() for k in kernels) + "\n\n")
    _save(str(data), document)


def _save(path: str, document: Any) -> None:
    """Write the file completely or not at all, because the step can be killed at any moment."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(path)


def _ceilings(path: str) -> ceilings.Ceilings:
    return ceilings.Ceilings(**json.loads(Path(path).read_text()))


def _ordered(correctness: str) -> list[Workload]:
    rank = {op: place for place, op in enumerate(FIRST)}
    return sorted(workloads.large(), key=lambda w: rank.get(w.op, len(rank)))


def _broken(correctness: str) -> set[tuple[str, str]]:
    """Return each (op, implementation) that was wrong or did not finish: it is not measured, because it could hang."""
    if not Path(correctness).exists():
        return set()
    document = json.loads(Path(correctness).read_text())
    broken = {(row["op"], row["implementation"]) for row in document["wrong"] if row["implementation"] != "triton"}
    for step in document["unfinished"]:
        if step.startswith("isolated "):
            group, which = step.removeprefix("isolated ").split("/")
            broken.add((which, "cuda") if group == "op" else (f"ladder {group}", which))
    return broken


if __name__ == "__main__":
    globals()[f"run_{sys.argv[1]}"](*sys.argv[2:])
