from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm_contract.openai import ChatCompletionRequest, ChatMessage, CompletionRequest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", -1),
        ("max_tokens", 0),
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -2),
        ("min_p", 2),
        ("n", 2),
        ("min_tokens", -1),
        ("prompt", 7),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        CompletionRequest.model_validate({"prompt": "x", field: value})
    assert caught.value.errors()[0]["loc"][0] == field


def test_unknown_fields_are_accepted() -> None:
    assert CompletionRequest.model_validate({"prompt": "x", "flavour": "mint"}).prompt == "x"


@pytest.mark.parametrize("prompt", ["x", [1, 2], ["a", "b"], [[1], [2]]])
def test_every_form_of_prompt(prompt: Any) -> None:
    assert CompletionRequest(prompt=prompt).prompt == prompt


@pytest.mark.parametrize(("stop", "strings"), [(None, []), ("a", ["a"]), (["a", "b"], ["a", "b"])])
def test_stop_is_a_list_in_the_end(stop: Any, strings: list[str]) -> None:
    assert CompletionRequest(prompt="x", stop=stop).stop_strings() == strings


def test_a_chat_needs_a_message() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        ChatCompletionRequest(messages=[])


def test_the_text_of_a_message_in_parts() -> None:
    parts: Any = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": None}]
    assert ChatMessage(role="user", content=[*parts, "b"]).text() == "a\nb"
    assert ChatMessage(role="assistant").text() == ""
