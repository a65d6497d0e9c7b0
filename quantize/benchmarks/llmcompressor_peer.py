"""llm-compressor on one model, in its own environment: `python llmcompressor_peer.py JOB.json`.

The job is {"model", "out", "method", "group_size", "tokens": rows of token ids}; the answer, the last line of the
output, is {"seconds", "peak_bytes"}: from before the model is loaded until it is written, and the process's memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from transformers import AutoModelForCausalLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    dataset = Dataset.from_dict(
        {"input_ids": job["tokens"], "attention_mask": [[1] * len(row) for row in job["tokens"]]}
    )
    oneshot(
        model=model,
        dataset=dataset,
        recipe=recipe(job["method"], job["group_size"]),
        max_seq_length=len(job["tokens"][0]),
        num_calibration_samples=len(job["tokens"]),
        shuffle_calibration_samples=False,
    )
    model.save_pretrained(job["out"], save_compressed=True)
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_bytes": int(peak.split()[1]) * 1024}))


def recipe(method: str, group_size: int) -> QuantizationModifier | GPTQModifier:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": group_size}
    group = {"group_0": {"targets": ["Linear"], "weights": weights}}
    if method == "rtn":
        return QuantizationModifier(config_groups=group, ignore=["lm_head"])
    if method == "gptq":
        return GPTQModifier(config_groups=group, ignore=["lm_head"], actorder="static")
    if method == "w8a8":
        return QuantizationModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"])
    return QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"])


if __name__ == "__main__":
    main()
