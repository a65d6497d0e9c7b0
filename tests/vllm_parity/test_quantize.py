"""Models that `llm-quantize` wrote: real vLLM and our engine load every method and format with equal greedy tokens.

Each format with each kind of weights is tested once, and each family once. W8A8 is SmoothQuant's format without scales.
`--every-case` tests each family by each of them.

Two cases are compared by log-probabilities up to the first token that differs. GPTQ's and AWQ's formats run in float16
in vLLM and in float32 here, so a near tie can fall either way. Where inputs are rounded as well (W8A8, FP8), the last
bit of a float can round to another integer and grow from layer to layer.

Keys and values of an FP8 cache are rounded to the nearest value here and by vLLM's kernels for GPUs, but towards 0 by
its kernel for CPUs, which loses three times as much. For the comparison our engine rounds towards 0 as well.
vLLM has no kernel for 8-bit weights with 16-bit inputs on a CPU, and loads no weights of 2 or 3 bits.
"""

from __future__ import annotations

import json
import subprocess
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from llm_engine import LLM, SamplingParams
from llm_engine.operators import fp8_cache
from llm_lab import paths, vllm
from llm_quantize import make_recipe, quantize

NEW_TOKENS = 24
CALIBRATION = {"samples": 16, "length": 128}
ROUNDED_INPUTS = ("w8a8", "smoothquant", "fp8")
EXACT, IN_FLOAT16, WITH_ROUNDED_CACHE, WITH_ROUNDED_INPUTS = (1e-3, 1e-3), (0.05, 0.01), (0.02, 1e-3), (inf, 0.15)
"""Limits of the largest and of the mean difference between two log-probabilities.

float16 moves those of the unquantised qwen3 by up to 0.025, and by 0.003 on average. One key in thousands lies so near
the edge of a step of e4m3 that its last bit decides.
"""
SCRIPT = Path(__file__).with_name("generate_with_vllm.py")
FAMILIES = ("gemma", "llama", "mistral", "phi3", "qwen2", "qwen3")
RECIPES: dict[str, dict[str, Any]] = {
    "rtn": {"method": "rtn", "symmetric": False},
    "rtn, channels": {"method": "rtn", "group_size": -1},
    "gptq": {"method": "gptq"},
    "gptq in gptq": {"method": "gptq", "format": "gptq"},
    "awq": {"method": "awq"},
    "awq in awq": {"method": "awq", "format": "awq"},
    "rotation": {"method": "rotation"},
    "mixed": {"method": "gptq", "keep": 0.2},
    "w8a8": {"method": "w8a8"},
    "smoothquant": {"method": "smoothquant"},
    "fp8": {"method": "fp8"},
    "fp8 cache": {"method": "rtn", "kv_cache": "fp8"},
}
Case = tuple[str, str]
CASES: list[Case] = [("main", name) for name in RECIPES if name not in ("gptq", "w8a8")] + [
    *(("gemma", "awq in awq"), ("mistral", "fp8"), ("phi3", "gptq in gptq")),
    *(("qwen2", "smoothquant"), ("qwen3", "gptq")),
]  # fmt: skip
EVERY_CASE: list[Case] = [(model, name) for model in ("main", *FAMILIES) for name in RECIPES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = EVERY_CASE if metafunc.config.getoption("--every-case") else CASES
        metafunc.parametrize("case", cases, ids="-".join)


def folder_of(model: str) -> Path:
    return paths.MODEL if model == "main" else paths.ROOT / "models" / "zoo" / model


def dtype_of(name: str) -> str:
    """Return vLLM's type: 16 bits for the formats that were made for it."""
    return "float16" if " in " in name else "float32"


def limits_of(name: str) -> tuple[float, float]:
    if name in ROUNDED_INPUTS:
        return WITH_ROUNDED_INPUTS
    if "kv_cache" in RECIPES[name]:
        return WITH_ROUNDED_CACHE
    return IN_FLOAT16 if dtype_of(name) == "float16" else EXACT


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    text = (paths.ROOT / "models" / "eval" / "heldout.txt").read_text(encoding="utf-8")[:4000]
    ids = LLM(str(paths.MODEL), num_gpu_blocks_override=200).engine.tokenizer.encode(text)
    return [ids[start : start + 40] for start in range(20, 500, 120)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[Case, Path]:
    """Return the models of the tests that are run, by case."""
    root: Path = tmp_path_factory.mktemp("quantized")
    found = {}
    tests = [one for one in request.session.items if isinstance(one, pytest.Function) and one.path == Path(__file__)]
    cases = [cast(Case, one.callspec.params["case"]) for one in tests]
    for number, (model, name) in enumerate(cases):
        found[model, name] = root / str(number)
        grouped = name not in ROUNDED_INPUTS
        small = {"group_size": 32} if model != "main" and grouped else {}
        recipe = make_recipe(**(small | RECIPES[name]), calibration=CALIBRATION)
        quantize(folder_of(model), found[model, name], recipe)
    return found


@pytest.fixture(scope="module")
def theirs(
    folders: dict[Case, Path], prompts: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> dict[Case, Any]:
    """(model, recipe) -> answers"""
    assert vllm.is_installed(), "real vLLM is not installed; ./lab vllm installs it"
    job = tmp_path_factory.mktemp("job") / "job.json"
    models = [[str(folder), dtype_of(name)] for (_, name), folder in folders.items()]
    job.write_text(json.dumps({"prompts": prompts, "max_tokens": NEW_TOKENS, "inputs": None, "models": models}))
    command = [str(paths.VLLM_VENV / "bin" / "python"), str(SCRIPT), str(job)]
    environment = vllm.ENVIRONMENT | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [answer for answer, _ in json.loads(done.stdout.splitlines()[-1])]
    return dict(zip(folders, answers, strict=True))


def towards_zero(kv: Tensor, scales: Tensor | None) -> Tensor:
    """Do the same as `fp8_cache.rounded`, but cut off what e4m3 does not hold."""
    assert scales is not None
    pairs = (kv.view(len(kv), 2, -1) / scales).clamp(-fp8_cache.LARGEST, fp8_cache.LARGEST)
    mantissa = 2**20 - 1  # of float32, behind e4m3's three bits
    cut = (pairs.view(torch.int32) & ~mantissa).view(torch.float32)
    return cut.to(fp8_cache.TYPE).view(torch.uint8).view(kv.shape)


def test_equal_greedy_tokens(
    case: Case,
    folders: dict[Case, Path],
    prompts: list[list[int]],
    theirs: dict[Case, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fp8_cache, "rounded", towards_zero)
    cache = "fp8" if "kv_cache" in RECIPES[case[1]] else "auto"
    llm = LLM(str(folders[case]), num_gpu_blocks_override=200, kv_cache_dtype=cache)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=20, ignore_eos=True)
    outputs = [output.outputs[0] for output in llm.generate(prompts, params, use_tqdm=False)]
    limits = limits_of(case[1])
    differences = []
    for output, (tokens, logprobs) in zip(outputs, theirs[case], strict=True):
        same = next((at for at in range(NEW_TOKENS) if output.token_ids[at] != tokens[at]), NEW_TOKENS)
        assert same == NEW_TOKENS or limits in (IN_FLOAT16, WITH_ROUNDED_INPUTS)
        for mine, other in zip((output.logprobs or [])[: same + 1], logprobs, strict=False):
            differences += [abs(mine[int(t)].logprob - logprob) for t, logprob in other.items() if int(t) in mine]
    assert max(differences) < limits[0]
    assert mean(differences) < limits[1]
