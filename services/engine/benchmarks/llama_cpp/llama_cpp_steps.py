"""llama.cpp's part of `cpu_llama_cpp.py`, run by the Python that has llama-cpp-python.

    python llama_cpp_steps.py quantize Q4_1.gguf Q8_0.gguf
    python llama_cpp_steps.py serve MODEL.gguf THREADS wall|cpu

`serve` reads lines {"prompts": [[token, …], …], "steps": n} and answers each with the seconds of every step. The first
step takes all prompts in one batch; each of the others takes one token per prompt, the one with the largest logit.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import llama_cpp as llama  # type: ignore[import-not-found]  # pants: no-infer-dep
import numpy as np


def main() -> int:
    if sys.argv[1] == "quantize":
        return quantize(*sys.argv[2:4])
    model, context = load(sys.argv[2], int(sys.argv[3]))
    clock = time.process_time if sys.argv[4] == "cpu" else time.perf_counter
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(run(model, context, asked["prompts"], steps=asked["steps"], clock=clock)), flush=True)
    return 0


def quantize(source: str, target: str) -> int:
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = llama.LLAMA_FTYPE_MOSTLY_Q8_0, True
    return int(llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)))


def load(path: str, threads: int) -> tuple[Any, Any]:
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    params = llama.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 64 * 128, 4096, 512, 64
    params.n_threads = params.n_threads_batch = threads
    return model, llama.llama_init_from_model(model, params)


def run(model: Any, context: Any, prompts: list[list[int]], *, steps: int, clock: Callable[[], float]) -> list[float]:
    """Return the seconds of each step."""
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    batch = llama.llama_batch_init(sum(map(len, prompts)), 0, 1)
    chunks, position, seconds = prompts, 0, []
    for _ in range(steps):
        begun = clock()
        last = fill(batch, chunks, position)
        if llama.llama_decode(context, batch):
            raise RuntimeError("llama_decode failed")
        position += len(chunks[0])
        logits = (np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (vocabulary,)) for i in last)
        chunks = [[int(row.argmax())] for row in logits]
        seconds.append(clock() - begun)
    llama.llama_batch_free(batch)
    return seconds


def fill(batch: Any, chunks: list[list[int]], position: int) -> list[int]:
    """Put the chunks, all of one length, into the batch; return the index of each chunk's last token."""
    index, last = 0, []
    for sequence, chunk in enumerate(chunks):
        for offset, token in enumerate(chunk):
            batch.token[index], batch.pos[index] = token, position + offset
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
            batch.logits[index] = offset + 1 == len(chunk)
            index += 1
        last.append(index - 1)
    batch.n_tokens = index
    return last


if __name__ == "__main__":
    sys.exit(main())
