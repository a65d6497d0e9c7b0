"""Quantised checkpoints of the shipped main model: real vLLM and ours read the same weights from the same files.

Where inputs are rounded too (W8A8), a difference in the last bit of a float may round to another integer and grow from
layer to layer: there the projections themselves are compared exactly, and whole answers roughly. Act-order is left out:
vLLM 0.32 refuses it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from llm_engine import LLM, SamplingParams
from llm_engine.testing.parts import decoder_of
from llm_engine.testing.rounding import round_model
from llm_lab import paths, vllm

NEW_TOKENS = 24
INPUTS = torch.randn(6, 640, generator=torch.Generator().manual_seed(0)).mul(100).round().div(100)
FORMATS = {
    # vLLM's type: for gptq and awq one of 16 bits
    "int4": "float32",
    "int4, asymmetric": "float32",
    "int4, asymmetric, with head": "float32",
    "gptq": "float16",
    "gptq, with head": "float16",
    "awq": "float16",
    "int8, 7 bits": "float32",
    "fp8": "float32",
}
HEAD = ", with head"
"""Name of a format whose output head is quantised as well."""
ROUNDED_INPUTS = ("int8, 7 bits", "fp8")
TOLERANCE = {"float32": 1e-3, "float16": 0.03}
"""Between two log-probabilities."""
MEAN_TOLERANCE = 0.15
"""Limit of their mean difference where inputs are rounded; one rounded bit in a thousand makes half of it."""
SCRIPT = Path(__file__).with_name("generate_with_vllm.py")


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    ids = LLM(str(paths.MODEL), num_gpu_blocks_override=200).engine.tokenizer.encode(
        (paths.ROOT / "models" / "eval" / "heldout.txt").read_text(encoding="utf-8")[:4000]
    )
    return [ids[start : start + 40] for start in range(20, 500, 120)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    root: Path = tmp_path_factory.mktemp("quantized")
    found = {name: root / str(number) for number, name in enumerate(FORMATS)}
    for name, folder in found.items():
        round_model(paths.MODEL, folder, name.removesuffix(HEAD), group_size=128, head=name.endswith(HEAD))
    yield found
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def theirs(folders: dict[str, Path], prompts: list[list[int]], tmp_path_factory: Any) -> dict[str, Any]:
    """Format -> [answers, outputs]"""
    assert vllm.is_installed(), "real vLLM is not installed; ./lab vllm installs it"
    models = [[str(folders[name]), dtype] for name, dtype in FORMATS.items()]
    job = tmp_path_factory.mktemp("job") / "job.json"
    job.write_text(
        json.dumps({"prompts": prompts, "max_tokens": NEW_TOKENS, "inputs": INPUTS.tolist(), "models": models})
    )
    command = [str(paths.VLLM_VENV / "bin" / "python"), str(SCRIPT), str(job)]
    environment = vllm.ENVIRONMENT | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(FORMATS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_projection(name: str, folders: dict[str, Path], theirs: dict[str, Any]) -> None:
    llm = LLM(str(folders[name]), num_gpu_blocks_override=200)
    ours = decoder_of(llm)._weights.layers[0].down(INPUTS)
    tolerance = 1e-5 if FORMATS[name] == "float32" else 5e-3
    torch.testing.assert_close(ours, torch.tensor(theirs[name][1]), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_answers(
    name: str, folders: dict[str, Path], prompts: list[list[int]], theirs: dict[str, Any]
) -> None:
    llm = LLM(str(folders[name]), num_gpu_blocks_override=200)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=20, ignore_eos=True)
    outputs = [output.outputs[0] for output in llm.generate(prompts, params, use_tqdm=False)]
    differences = []
    for output, (tokens, logprobs) in zip(outputs, theirs[name][0], strict=True):
        same = 0
        while same < NEW_TOKENS and output.token_ids[same] == tokens[same]:
            same += 1
        assert same == NEW_TOKENS or name in ROUNDED_INPUTS
        for mine, other in zip((output.logprobs or [])[: same + 1], logprobs, strict=False):
            differences += [abs(mine[int(t)].logprob - logprob) for t, logprob in other.items() if int(t) in mine]
    if name in ROUNDED_INPUTS:
        assert mean(differences) < MEAN_TOLERANCE
    else:
        assert max(differences) < TOLERANCE[FORMATS[name]]
