"""All-reduce of a decode's hidden states over the GPUs of this machine: NCCL against the one-shot kernel, by size.

    PYTHONPATH=kernels python3 kernels/benchmarks/one_shot.py --out kernels/results/h200

First each kernel's sums and norms are compared with NCCL's and float32's, with sizes that change from call to call.
Then each contender is timed in a CUDA graph of many calls, as an engine replays them. Bandwidth counts a rank's bytes
once: n bytes / time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from llm_kernels import ops
from llm_kernels.one_shot import OneShot

CALLS, REPLAYS = 40, 25
HIDDEN = 4096
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
EPS = 1e-5
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=torch.cuda.device_count())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print this results file as a table and measure nothing")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(table(json.loads(arguments.table.read_text(encoding="utf-8"))))
        return 0
    gpus = torch.cuda.device_count()
    if not 2 <= arguments.ranks <= gpus:
        parser.error(f"--ranks is {arguments.ranks}, but it takes at least 2, and this machine has {gpus} GPUs")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    found = mp.get_context("spawn").SimpleQueue()
    mp.spawn(run, (arguments.ranks, found), nprocs=arguments.ranks)
    result = found.get()
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        (arguments.out / "one_shot.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def table(found: dict[str, Any]) -> str:
    names = {
        "one_shot": "one-shot",
        "nccl": "NCCL",
        "one_shot_fused": "one-shot with residual and norm",
        "nccl_then_norm": "NCCL, then the norm's kernel",
        "norm_alone": "that kernel alone",
    }
    rows = found["microseconds"]
    lines = [f"| rows | KB | {' | '.join(names.values())} |", f"| ---: | ---: | {' | '.join(['---:'] * len(names))} |"]
    for row in rows:
        cells = (f"{row[name]:.1f}" for name in names)
        lines.append(f"| {row['rows']} | {row['bytes'] // 1024} | {' | '.join(cells)} |")
    measured = f"Microseconds, {found['ranks']} x {found['device']}, {found['dtype']}, hidden size {found['hidden']}"
    return "\n".join(lines) + f"\n\n{measured}, torch {found['torch']}, NCCL {found['nccl']}, {found['date']}."


def run(rank: int, ranks: int, found: Any) -> None:
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", rank=rank, world_size=ranks, device_id=device)

    def exchange(handle: bytes) -> list[bytes]:
        handles: list[Any] = [None] * ranks
        dist.all_gather_object(handles, handle)
        return handles

    one_shot = OneShot(rank, ranks, device, exchange)
    checked = check(one_shot, rank, ranks, device)
    table = [measure(one_shot, rows, device) for rows in ROWS]
    if rank == 0:
        found.put(
            {
                "device": torch.cuda.get_device_name(),
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "torch": torch.__version__,
                "nccl": ".".join(map(str, torch.cuda.nccl.version())),
                "ranks": ranks,
                "dtype": "bfloat16",
                "hidden": HIDDEN,
                "calls_checked": checked,
                "microseconds": table,
            }
        )
    dist.barrier()
    one_shot.close()
    dist.destroy_process_group()


def check(one_shot: OneShot, rank: int, ranks: int, device: torch.device) -> int:
    """Compare sums and norms with float32's, and their bits between the ranks. Return how many calls were compared."""
    calls = 0
    for number in range(3):
        for dtype in TOLERANCE:
            for rows, hidden in ((1, 4096), (256, 1024), (1, 64), (100, 8192), (3, 1536), (128, 4096), (7, 5120)):
                torch.manual_seed(number * 100 + rows)
                parts = torch.randn((ranks, rows, hidden), device=device).to(dtype)
                residual, weight = (
                    torch.randn(shape, device=device).to(dtype) for shape in ((rows, hidden), (hidden,))
                )
                parts[:, :, ::3] = -0.0
                total = parts.float().sum(0)
                close(one_shot.sum(parts[rank].contiguous()), total, dtype)
                normed, summed = one_shot.add_rms_norm(parts[rank].contiguous(), residual, weight, EPS)
                total += residual.float()
                close(summed, total, dtype)
                scale = torch.rsqrt(total.square().mean(-1, keepdim=True) + EPS)
                close(normed, total * scale * weight.float(), dtype)
                bits = [torch.empty_like(summed) for _ in range(ranks)]
                dist.all_gather(bits, summed)
                if not all(torch.equal(each, summed) for each in bits):
                    raise AssertionError(f"ranks differ: {rows} x {hidden} of {dtype}")
                columns = one_shot.gather(parts[rank].contiguous())
                if not torch.equal(columns, torch.cat(list(parts), dim=-1)):  # -0.0 equals the 0.0 that arrives
                    raise AssertionError(f"gathered wrongly: {rows} x {hidden} of {dtype}")
                calls += 3
    return calls


def close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(found.float(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def measure(one_shot: OneShot, rows: int, device: torch.device) -> dict[str, Any]:
    x = torch.randn((rows, HIDDEN), device=device, dtype=torch.bfloat16)
    residual, weight = torch.randn_like(x), torch.randn(HIDDEN, device=device, dtype=torch.bfloat16)

    def nccl_and_norm() -> object:
        dist.all_reduce(x)
        return ops.fused_add_rms_norm(x, residual, weight, EPS)

    contenders: dict[str, Callable[[], object]] = {"nccl": lambda: dist.all_reduce(x), "nccl_then_norm": nccl_and_norm}
    if one_shot.why_not_sum(x) is None:
        contenders["one_shot"] = lambda: one_shot.sum(x)
        contenders["one_shot_fused"] = lambda: one_shot.add_rms_norm(x, residual, weight, EPS)
    contenders["norm_alone"] = lambda: ops.fused_add_rms_norm(x, residual, weight, EPS)
    times = {name: round(timed(call), 2) for name, call in contenders.items()}
    return {"rows": rows, "bytes": x.numel() * x.element_size(), **times}


def timed(call: Callable[[], object]) -> float:
    """Return the median microseconds of a call within a graph of many."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(CALLS):
            call()
    for _ in range(3):
        graph.replay()
    dist.barrier()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(REPLAYS + 1)]
    events[0].record()
    for event in events[1:]:
        graph.replay()
        event.record()
    torch.cuda.synchronize()
    each = [begin.elapsed_time(end) for begin, end in itertools.pairwise(events)]
    return statistics.median(each) / CALLS * 1e3


if __name__ == "__main__":
    sys.exit(main())
