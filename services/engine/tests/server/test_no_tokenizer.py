"""`--skip-tokenizer-init`: token ids in and out; a request that needs a tokenizer gets a 400 that names the field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.errors import RequestError
from llm_engine.structured.params import StructuredOutputs

GENERATE, CHAT = "/v1/completions", "/v1/chat/completions"


NEEDS_ONE: list[tuple[str, dict[str, Any], str]] = [
    (GENERATE, {"prompt": "import os"}, "prompt"),
    (GENERATE, {"prompt": [5], "stop": ["a"]}, "stop"),
    (GENERATE, {"prompt": [5], "bad_words": ["a"]}, "bad_words"),
    (CHAT, {"messages": [{"role": "user", "content": "a"}]}, "messages"),
    ("/tokenize", {"prompt": "a"}, "prompt"),
    ("/detokenize", {"tokens": [5]}, "tokens"),
]


def test_over_http(start_server: Callable[..., Any]) -> None:
    server = start_server(num_gpu_blocks_override=128, skip_tokenizer_init=True)
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        for path, body, param in NEEDS_ONE:
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), body
        fields = {"prompt": [5, 6], "max_tokens": 3, "logprobs": 2, "temperature": 0, "return_token_ids": True}
        (choice,) = client.post(GENERATE, json=fields).json()["choices"]
    assert choice["text"] == ""
    assert choice["logprobs"]["tokens"] == [f"token_id:{token}" for token in choice["token_ids"]]
    assert [len(top) for top in choice["logprobs"]["top_logprobs"]] == [2, 2, 2]


def test_a_shape_is_refused_where_the_folder_has_no_tokenizer(tmp_path: Path, models: Path) -> None:
    (tmp_path / "config.json").write_text((models / "zoo" / "llama" / "config.json").read_text())
    config = EngineConfig(
        str(tmp_path), load_format="dummy", skip_tokenizer_init=True, num_gpu_blocks_override=128, max_model_len=64
    )
    with pytest.raises(RequestError, match="without") as error:
        Engine(config).prepare([5], SamplingParams(structured=StructuredOutputs(regex="a")))
    assert error.value.param == "structured_outputs"
