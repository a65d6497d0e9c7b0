"""llm-compressor on one model, in its own environment: `python llmcompressor_peer.py JOB.json`.

The job is {"model", "out", "method", "group_size", "clip_search", "tokens": rows of token ids}; the answer, the last
line of the output, is {"seconds", "peak_bytes"}: from before the model is loaded until it is written, and the process's
memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    # AWQ pins what it caches, for a faster copy to a GPU, and torch refuses that where there is none. Nothing else of
    # it needs a GPU.
    IntermediatesCache.pin_memory = lambda self, batch_index: None
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    dataset = Dataset.from_dict(
        {"input_ids": job["tokens"], "attention_mask": [[1] * len(row) for row in job["tokens"]]}
    )
    oneshot(
        model=model,
        dataset=dataset,
        recipe=recipe(job["method"], job["group_size"], job["clip_search"]),
        max_seq_length=len(job["tokens"][0]),
        num_calibration_samples=len(job["tokens"]),
        shuffle_calibration_samples=False,
    )
    model.save_pretrained(job["out"], save_compressed=True)
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_bytes": int(peak.split()[1]) * 1024}))


def recipe(method: str, group_size: int, clip_search: bool) -> Modifier | list[Modifier]:
    """Return the modifiers. Their search for clipped ranges, where it is asked for, is the observer "mse"."""
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": method != "awq",
        "strategy": "group",
        "group_size": group_size,
        "observer": "memoryless_mse" if clip_search else "memoryless_minmax",
    }
    group = {"group_0": {"targets": ["Linear"], "weights": weights}}
    if method == "rtn":
        return QuantizationModifier(config_groups=group, ignore=["lm_head"])
    if method == "awq":
        return [AWQModifier(), QuantizationModifier(config_groups=group, ignore=["lm_head"])]
    if method == "gptq":
        return GPTQModifier(config_groups=group, ignore=["lm_head"], actorder="static")
    if method == "w8a8":
        return QuantizationModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"])
    return QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"])


if __name__ == "__main__":
    main()
