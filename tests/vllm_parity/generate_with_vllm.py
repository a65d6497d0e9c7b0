"""Real vLLM, offline, on one model folder after another: `python generate_with_vllm.py JOB.json` in vLLM's environment.

The job is {"prompts": [token ids], "max_tokens": n, "inputs": rows, "models": [[folder, dtype]]}; the answer, the last
line of the output, has for each model [answers, outputs]: of each prompt's greedy answer the tokens and, at each place,
the log-probabilities of the likeliest; and what the first layer's down_proj makes of the inputs, unless they are null.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

import torch
from torch import Tensor
from vllm import LLM, SamplingParams  # pants: no-infer-dep
from vllm import _custom_ops as custom_ops  # pants: no-infer-dep
from vllm.model_executor.kernels.linear.scaled_mm import cpu as scaled_mm  # pants: no-infer-dep

MEMORY_SHARE = 0.2
"""Share of the machine's memory; vLLM counts by its size, not by what is free."""


def main() -> None:
    # On a processor with AMX vLLM takes a kernel that refuses float32; its other one computes the same everywhere.
    scaled_mm.check_cpu_sgl_kernel = lambda *_: False
    custom_ops.cpu_gemm_wna16 = partial(gemm_wna16, kernel=custom_ops.cpu_gemm_wna16)
    job = json.loads(Path(sys.argv[1]).read_text())
    params = SamplingParams(temperature=0, max_tokens=job["max_tokens"], logprobs=5, ignore_eos=True)
    prompts = [{"prompt_token_ids": prompt} for prompt in job["prompts"]]
    answers: list[object] = []
    for folder, dtype in job["models"]:
        llm = LLM(
            folder,
            dtype=dtype,
            enforce_eager=True,
            max_model_len=512,
            max_num_seqs=8,
            gpu_memory_utilization=MEMORY_SHARE,
            distributed_executor_backend="uni",
        )
        outputs = [output.outputs[0] for output in llm.generate(prompts, params, use_tqdm=False)]
        told = [[list(output.token_ids), likeliest(output.logprobs)] for output in outputs]
        model = llm.llm_engine.model_executor.driver_worker.worker.model_runner.model
        computed: list[float] | None = None
        if job["inputs"] is not None:
            x = torch.tensor(job["inputs"]).to(getattr(torch, dtype))
            with torch.inference_mode():
                computed = model.model.layers[0].mlp.down_proj(x)[0].tolist()
        answers.append([told, computed])
        del llm
    print(json.dumps(answers))


def likeliest(logprobs: list) -> list[dict[int, float]]:  # type: ignore[type-arg]
    return [{token: entry.logprob for token, entry in at.items()} for at in logprobs]


def gemm_wna16(
    input: Tensor,
    q_weight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    bias: Tensor | None,
    pack_factor: int,
    isa_hint: str,
    kernel: Callable[..., Tensor],
) -> Tensor:
    """Run vLLM's kernel, or compute the same in plain torch: without AVX-512 the kernel is not built, and it has no
    float32.

    The weights are as vLLM has read and repacked them: blocks of 16 outputs, for each input two words of 8 values;
    zeros are [groups, out / 8], or 8.
    """
    if hasattr(torch.ops._C, "cpu_gemm_wna16") and input.dtype != torch.float32:
        return kernel(input, q_weight, scales, zeros, bias, pack_factor, isa_hint)
    groups, out = scales.shape
    inputs = q_weight.shape[1] // 2
    values = nibbles(q_weight.view(-1, inputs, 2)).permute(1, 0, 2).reshape(inputs, out)
    zero = torch.full((groups, out), 8) if zeros is None else nibbles(zeros)
    group = torch.arange(inputs) // (inputs // groups)
    weight = (values - zero[group]) * scales.float()[group]
    result = input.float() @ weight
    return (result if bias is None else result + bias.float()).to(input.dtype)


def nibbles(words: Tensor) -> Tensor:
    return ((words.unsqueeze(-1) >> torch.arange(0, 32, 4)) & 15).flatten(-2)


if __name__ == "__main__":
    main()
