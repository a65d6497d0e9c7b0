"""Every field of vLLM's request models is supported here, refused by name, or ignored for a reason."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from llm_contract.openai import DetokenizeRequest, TokenizeRequest
from llm_engine.server.reading.request_fields import IGNORED, REFUSED
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest, TokenizeChatRequest
from llm_lab import paths, vllm

LIST = """
import json
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeChatRequest, TokenizeCompletionRequest
models = (CompletionRequest, ChatCompletionRequest, TokenizeCompletionRequest, TokenizeChatRequest, DetokenizeRequest)
print(json.dumps({model.__name__: sorted(model.model_fields) for model in models}))
"""
OURS: dict[str, Any] = {
    "CompletionRequest": EngineCompletionRequest,
    "ChatCompletionRequest": EngineChatRequest,
    "TokenizeCompletionRequest": TokenizeRequest,
    "TokenizeChatRequest": TokenizeChatRequest,
    "DetokenizeRequest": DetokenizeRequest,
}


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    assert vllm.is_installed(), "real vLLM is not installed; ./lab vllm installs it"
    command = [str(paths.VLLM_VENV / "bin" / "python"), "-c", LIST]
    done = subprocess.run(command, env=vllm.ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    fields: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return fields


@pytest.mark.parametrize("name", OURS)
def test_no_field_of_vllms_is_unknown_here(theirs: dict[str, list[str]], name: str) -> None:
    known = OURS[name].model_fields.keys() | REFUSED.keys() | IGNORED.keys()
    assert [field for field in theirs[name] if field not in known] == []
