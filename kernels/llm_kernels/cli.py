"""llm-kernels: see which implementation runs, check a kernel, measure, profile, compile without a GPU.

llm-kernels ops                                        every op and its implementations
llm-kernels explain rms_norm --shape 8192x4096         which one runs here, and why the others do not
llm-kernels check FILE                                 put a kernel through the checker
llm-kernels bench [OP …] [--shapes TEXT] [--out DIR]   check, then measure (needs a GPU)
llm-kernels ladder [NAME …]                            the same for the rungs of a ladder
llm-kernels tune [OP …]                                search the kernels' options, remember the winners
llm-kernels profile OP …                               ncu's counters of one call, in words
llm-kernels compile [--out FILE]                       every kernel for sm_90, without a GPU
llm-kernels pages                                      the ladders' tables from the results' files
llm-kernels challenge FILE --name NAME                 enter the leaderboard
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llm_kernels.dispatch import REGISTRY, get
from llm_kernels.errors import KernelError

BF16 = "bfloat16"


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    try:
        result: int = parsed.run(parsed)
        return result
    except KernelError as error:
        print(f"llm-kernels: {error}", file=sys.stderr)
        return 1


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _output_file(text: str) -> Path:
    """Parse an output file; refuse a bad one before anything is computed."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written: it is a folder, or its folder does not exist")
    return path


def _ops(arguments: argparse.Namespace) -> int:
    for name, op in sorted(REGISTRY.ops.items()):
        print(f"{name:22} {' > '.join(i.name for i in op.implementations)}")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from llm_kernels import workloads
    from llm_kernels.workloads.base import short

    op = get(arguments.op)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = [w for w in workloads.large(op.name) + workloads.small(op.name) if _matches(w, arguments.shape)]
    if not chosen:
        labels = "\n  ".join(dict.fromkeys(w.label for w in workloads.large(op.name) + workloads.small(op.name)))
        raise KernelError(f"{op.name} has no workload whose shape contains {arguments.shape!r}; there are:\n  {labels}")
    workload = chosen[0]
    print(f"{op.name}  {workload.label}  {short(workload.dtype)}  on {_device_name()}")
    override = os.environ.get("LLM_KERNELS_IMPL")
    if override:
        print(f"  LLM_KERNELS_IMPL={override}")
    for name, verdict in _verdicts(workload, device):
        print(f"  {name:10} {verdict}")
    return 0


def _verdicts(workload: Any, device: str) -> list[tuple[str, str]]:
    """Return each implementation's verdict, for real inputs on a GPU, else for `meta` tensors, which cost nothing."""
    args = workload.inputs(0, device if device == "cuda" else "meta")
    verdicts: list[tuple[str, str]] = workload.definition().explain(args)
    return [(name, verdict.replace("on meta", "on cpu")) for name, verdict in verdicts]


def _check(arguments: argparse.Namespace) -> int:
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    from llm_kernels.checker import check_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    if arguments.sanitizer:
        return _sanitize(arguments, seed)
    findings = check_file(arguments.file, device, seed)
    for finding in findings:
        print(finding)
    print(f"{arguments.file}: {'rejected' if findings else 'passed'} on {device}, seed {seed}")
    return 1 if findings else 0


def _sanitize(arguments: argparse.Namespace, seed: int) -> int:
    """Repeat the check under compute-sanitizer, which finds accesses out of bounds and races on shared memory."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None or not torch.cuda.is_available():
        raise KernelError("--sanitizer needs a GPU and compute-sanitizer on the PATH")
    command = [sys.executable, "-m", "llm_kernels", "check", str(arguments.file), "--seed", str(seed)]
    for tool in ("memcheck", "racecheck"):
        print(f"compute-sanitizer --tool {tool}", flush=True)
        done = subprocess.run([sanitizer, "--tool", tool, "--error-exitcode", "2", *command], check=False)
        if done.returncode:
            return done.returncode
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from llm_kernels import workloads
    from llm_kernels.bench import ceilings, report, runner
    from llm_kernels.bench.environment import environment
    from llm_kernels.bench.roofline import measured_roofline

    _need_gpu("bench")
    for op in arguments.ops:
        get(op)
    limits = ceilings.measure_ceilings()
    chosen = [
        w for w in workloads.large() if (not arguments.ops or w.op in arguments.ops) and _matches(w, arguments.shapes)
    ]
    rows = [
        r.as_json()
        for r in runner.run_all(chosen, limits, lambda r: print(report.table([r.as_json()]).splitlines()[1]))
    ]
    print(report.table(rows))
    if arguments.out is not None:
        _write(arguments.out / "bench.json", {"environment": environment(), "ceilings": limits.as_json(), "rows": rows})
        (arguments.out / "roofline.svg").write_text(measured_roofline(rows, limits))
    return 0


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _ladder(arguments: argparse.Namespace) -> int:
    from llm_kernels.bench import ceilings, ladder, report
    from llm_kernels.bench.environment import environment
    from llm_kernels.ladders import LADDERS

    _need_gpu("ladder")
    if unknown := set(arguments.names) - set(LADDERS):
        raise KernelError(f"there is no ladder {', '.join(unknown)}; there are {', '.join(LADDERS)}")
    limits = ceilings.measure_ceilings()
    rows: list[dict[str, Any]] = []
    for name in arguments.names or LADDERS:
        rows += ladder.run_ladder(LADDERS[name], limits, lambda r: print(report.table([r]).splitlines()[1]))
    print(report.table(rows))
    if arguments.out is not None:
        document = {"environment": environment(), "ceilings": limits.as_json(), "rows": rows}
        _write(arguments.out / "ladders.json", document)
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    from llm_kernels import workloads
    from llm_kernels.bench.tune import tune

    _need_gpu("tune")
    for workload in workloads.large():
        if not arguments.ops or workload.op in arguments.ops:
            best = tune(workload, print)
            if best is not None:
                print(f"{workload.name}: {best}")
    return 0


def _profile(arguments: argparse.Namespace) -> int:
    from llm_kernels.profile import profile

    _need_gpu("profile")
    found = profile(*arguments.targets)
    text = "\n\n".join(f"# {target}\n" + "\n\n".join(p.summary() for p in found[target]) for target in found)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    return 0


def _run_once(arguments: argparse.Namespace) -> int:
    from llm_kernels.run_once import run_once

    run_once(*arguments.targets)
    return 0


def _compile(arguments: argparse.Namespace) -> int:
    from llm_kernels import aot
    from llm_kernels.cuda.build import SOURCES

    sources = sorted(SOURCES.glob("*.cu"))
    if arguments.ladders:
        from llm_kernels.ladders import LADDERS, rungs_of

        sources += [r.path for name in LADDERS for r in rungs_of(name) if r.path.suffix == ".cu"]
    compiled = aot.as_rows(aot.compile_all(sources, arguments.jobs))
    for row in compiled:
        usage = f"{row['registers']:4} registers {row['stack_bytes']:5} B stack {row['shared_bytes']:7} B shared"
        print(f"{row['kernel']:28} {usage}  {row['source']}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(compiled, indent=1) + "\n")
    return 0


def _pages(arguments: argparse.Namespace) -> int:
    from llm_kernels.bench.pages import rewrite_all

    for path in rewrite_all():
        print(path)
    return 0


def _challenge(arguments: argparse.Namespace) -> int:
    from llm_kernels.challenge import enter

    entry = enter(arguments.file, arguments.name)
    print(
        f"{entry.name}: {entry.seconds * 1e6:.1f} us, {entry.times_faster:.2f} times faster than slow.py on {entry.gpu}"
    )
    return 0


def _matches(workload: Any, text: str | None) -> bool:
    return text is None or text in workload.label


def _need_gpu(command: str) -> None:
    if not torch.cuda.is_available():
        raise KernelError(f"{command} measures on a GPU, and there is none here")


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("ops").set_defaults(run=_ops)
    explain = commands.add_parser("explain")
    explain.add_argument("op")
    explain.add_argument("--shape", help="a part of a workload's shape, e.g. 8192x4096")
    explain.set_defaults(run=_explain)
    check = commands.add_parser("check")
    check.add_argument("file", type=Path)
    check.add_argument("--seed", type=int, help="default: a fresh one, which is printed")
    check.add_argument("--sanitizer", action="store_true", help="run under compute-sanitizer: memcheck and racecheck")
    check.set_defaults(run=_check)
    bench = commands.add_parser("bench")
    bench.add_argument("ops", nargs="*")
    bench.add_argument("--shapes", help="only shapes that contain this")
    bench.add_argument("--out", type=Path, help="folder for bench.json and roofline.svg")
    bench.set_defaults(run=_bench)
    ladder = commands.add_parser("ladder")
    ladder.add_argument("names", nargs="*")
    ladder.add_argument("--out", type=Path, help="folder for ladders.json")
    ladder.set_defaults(run=_ladder)
    tune = commands.add_parser("tune")
    tune.add_argument("ops", nargs="*")
    tune.set_defaults(run=_tune)
    profile = commands.add_parser("profile")
    profile.add_argument("targets", nargs="+", help="op[/implementation[/shape]] or ladder:NAME/RUNG")
    profile.add_argument("--out", type=_output_file)
    profile.set_defaults(run=_profile)
    once = commands.add_parser("run-once")
    once.add_argument("targets", nargs="+")
    once.set_defaults(run=_run_once)
    compile_ = commands.add_parser("compile")
    compile_.add_argument("--out", type=_output_file)
    compile_.add_argument("--jobs", type=_jobs, help="processes; default: one for each core")
    compile_.add_argument("--ladders", action="store_true", help="also compile the ladders' CUDA rungs")
    compile_.set_defaults(run=_compile)
    commands.add_parser("pages").set_defaults(run=_pages)
    challenge = commands.add_parser("challenge")
    challenge.add_argument("file", type=Path)
    challenge.add_argument("--name", required=True)
    challenge.set_defaults(run=_challenge)
    return parser
