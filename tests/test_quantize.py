"""The engine serves what `llm-quantize` writes, with the greedy tokens of transformers and the decoded weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ENVIRONMENT, READY_TIMEOUT, any_port, post

from llm_engine import LLM, SamplingParams
from llm_lab import service
from llm_lab.ports import HOST
from llm_lab.service import Running
from llm_quantize import load_dequantized, make_recipe, quantize

ZOO = Path("models/zoo")
NEW_TOKENS = 16
PROMPT = "def fibonacci(n):\n"
RECIPES: dict[str, dict[str, Any]] = {
    "groups": {"method": "gptq", "group_size": 32},
    "asymmetric groups": {"method": "rtn", "group_size": 32, "symmetric": False},
    "channels": {"method": "rtn", "group_size": -1},
    "2 bits": {"method": "gptq", "bits": 2, "group_size": 32},
    "3 bits": {"method": "rtn", "bits": 3, "group_size": 32, "symmetric": False},
    "8 bits": {"method": "gptq", "bits": 8, "group_size": 32},
    "8 bits, channels": {"method": "rtn", "bits": 8, "group_size": -1},
    "gptq": {"method": "gptq", "group_size": 32, "format": "gptq"},
    "gptq, 2 bits": {"method": "rtn", "bits": 2, "group_size": 32, "format": "gptq"},
    "gptq, 8 bits": {"method": "rtn", "bits": 8, "group_size": 32, "format": "gptq"},
    "awq": {"method": "awq", "group_size": 32, "format": "awq"},
    "rotation": {"method": "rotation", "group_size": 32},
    "mixed": {"method": "rtn", "group_size": 32, "keep": 0.3},
    "smoothquant": {"method": "smoothquant"},
    "fp8": {"method": "fp8"},
    "fp8 cache": {"method": "rtn", "group_size": 32, "kv_cache": "fp8"},
}
CALIBRATION = {"samples": 8, "length": 64, "text": Path("models/eval/heldout.txt")}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_the_engine_computes_what_the_codes_say(family: str, name: str, tmp_path: Path) -> None:
    quantize(ZOO / family, tmp_path / "out", make_recipe(**RECIPES[name], calibration=CALIBRATION))
    llm = LLM(str(tmp_path / "out"), num_gpu_blocks_override=200)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    tokens = llm.engine.tokenizer.encode(PROMPT)
    answer = llm.generate([tokens], params, use_tqdm=False)[0].outputs[0].token_ids
    expected = load_dequantized(tmp_path / "out").generate(
        torch.tensor([tokens]), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False
    )
    assert answer == expected[0, len(tokens) :].tolist()


def test_from_the_command_to_a_completion(start: Callable[..., Running], tmp_path: Path) -> None:
    command = (sys.executable, "-m", "llm_quantize", "quantize", str(ZOO / "llama"), "--group-size", "32")
    text = ("--samples", "8", "--length", "64", "--text", "models/eval/heldout.txt")
    subprocess.run((*command, *text, "--out", str(tmp_path / "out")), check=True, env=ENVIRONMENT)
    port = any_port()
    serve = ("-m", "llm_engine", "serve", str(tmp_path / "out"), "--served-model-name", "quantised")
    engine = start("engine", port, *serve, "--host", HOST, "--port", str(port), "--num-threads", "1")
    service.wait_until_ready([engine], READY_TIMEOUT)
    status, answer = post(engine.url, {"model": "quantised", "prompt": PROMPT, "max_tokens": 8, "temperature": 0})
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 8
