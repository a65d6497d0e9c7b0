"""GPTQModel on one model, in its own environment: `python gptqmodel_peer.py JOB.json`.

Job and answer are those of `llmcompressor_peer.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["GPTQMODEL_CPU_WORKERS"] = "2"  # by default it takes half the cores, and stops if that is one
import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization import GPTQConfig


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    started = time.perf_counter()
    config = GPTQConfig(
        bits=4,
        group_size=job["group_size"],
        sym=True,
        desc_act=True,
        act_group_aware=False,
        static_groups=True,
        damp_percent=0.01,
        mse=2.4 if job["clip_search"] else 0.0,
        device="cpu",
        offload_to_disk=False,
    )
    model = GPTQModel.load(job["model"], config, dtype=torch.float32, backend=BACKEND.TORCH)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["tokens"]]
    model.quantize(rows, batch_size=1)
    model.save(job["out"])
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_bytes": int(peak.split()[1]) * 1024}))


if __name__ == "__main__":
    main()
