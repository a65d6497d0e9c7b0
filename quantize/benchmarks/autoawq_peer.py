"""autoawq on one model, in its own environment: `python autoawq_peer.py JOB.json`.

Job and answer are those of `llmcompressor_peer.py`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch
from awq import AutoAWQForCausalLM
from awq.quantize.quantizer import AwqQuantizer


class OnCpu(AwqQuantizer):
    """Keeps the weights that its search for scales changes.

    It keeps `weight.cpu()`, which is a copy of a weight on a GPU and the weight itself on a CPU: the search would
    begin each layer with weights that its first candidate has scaled.
    """

    def _compute_best_scale(self, *arguments, **keywords):
        with patch.object(torch.Tensor, "cpu", torch.Tensor.clone):
            return super()._compute_best_scale(*arguments, **keywords)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    started = time.perf_counter()
    # This version of transformers looks for the rotary base where older files have it.
    rope = json.loads((Path(job["model"]) / "config.json").read_text()).get("rope_parameters", {})
    base = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    model = AutoAWQForCausalLM.from_pretrained(
        job["model"], torch_dtype=torch.float32, device_map="cpu", safetensors=True, **base
    )
    config = {"zero_point": True, "q_group_size": job["group_size"], "w_bit": 4, "version": "GEMM"}
    model.quantize(
        None,
        quant_config=config,
        calib_data=job["tokens"],
        max_calib_samples=len(job["tokens"]),
        max_calib_seq_len=len(job["tokens"][0]),
        apply_clip=job["clip_search"],
        quantizer_cls=OnCpu,
    )
    model.save_quantized(job["out"])
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_bytes": int(peak.split()[1]) * 1024}))


if __name__ == "__main__":
    main()
