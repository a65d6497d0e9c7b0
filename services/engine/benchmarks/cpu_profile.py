"""Where a decode step's time goes on a CPU: kernels, torch's functions, and what is left for Python, at batch 1 and 16.

python services/engine/benchmarks/cpu_profile.py
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import MODELS, environment, heldout, rounded, save

from llm_engine import LLM, SamplingParams
from llm_kernels import cpu

PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 64, 128, 5
BATCHES = (1, 16)
SHOWN = 8


def main() -> int:
    setting = environment()
    llm = LLM(str(MODELS / "main"), attention_backend="cpp", enable_prefix_caching=False)
    ids = llm.engine.tokenizer.encode(heldout()[:20_000])
    found = {}
    for batch in BATCHES:
        prompts = [ids[i * PROMPT_TOKENS : (i + 1) * PROMPT_TOKENS] for i in range(batch)]
        found[f"batch_{batch}"] = profile(llm, prompts)
    sizes = {"model": "main", "prompt_tokens": PROMPT_TOKENS, "output_tokens": NEW_TOKENS, "rounds": ROUNDS}
    save("cpu_profile", {**setting, **sizes, **found})
    return 0


def profile(llm: LLM, prompts: list[list[int]]) -> dict[str, Any]:
    """Milliseconds a step, the prompts' step among them; a profiler's own cost falls on Python, so that is what is left
    of the time without one."""
    generate(llm, prompts)
    whole, by_function = float("inf"), {"": float("inf")}
    for _ in range(ROUNDS):  # the quickest of each: what slows a run down comes from outside
        whole = min(whole, generate(llm, prompts))
        profiler = cProfile.Profile()
        profiler.runcall(generate, llm, prompts)
        by_function = min(by_function, seconds_of_kernels(profiler), key=lambda found: sum(found.values()))
    kernels = sum(by_function.values())
    largest = sorted(by_function.items(), key=lambda item: -item[1])[:SHOWN]
    return {
        "milliseconds_per_step": rounded(whole / NEW_TOKENS * 1e3),
        "output_tokens_per_second": rounded(len(prompts) * NEW_TOKENS / whole),
        "by_function": {name: rounded(seconds / NEW_TOKENS * 1e3) for name, seconds in largest},
        "other_torch": rounded((kernels - sum(seconds for _, seconds in largest)) / NEW_TOKENS * 1e3),
        "python": rounded((whole - kernels) / NEW_TOKENS * 1e3),
    }


def seconds_of_kernels(profiler: cProfile.Profile) -> dict[str, float]:
    """Of each of torch's own functions, and of each of `llm_kernels.cpu`'s, its few lines of Python with it."""
    found = {}
    for (file, _, name), figures in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if Path(file) == Path(str(cpu.__file__)):
            found[f"cpu.{name}"] = figures[2]
        if file == "~" and "torch" in name:  # "~": not a Python function
            short = name.removeprefix("<").removesuffix(">").replace("built-in method ", "").replace("method ", "")
            found[short.split("'")[1] if short.startswith("'") else short] = figures[2]
    return found


def generate(llm: LLM, prompts: list[list[int]]) -> float:
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    begun = time.perf_counter()
    llm.generate(prompts, params, use_tqdm=False)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
