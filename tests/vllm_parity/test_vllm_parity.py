"""Our server's answers compared with real vLLM's, request by request; intended differences are written down here.

.venv/bin/python -m pytest tests/vllm_parity      (after ./lab vllm; not part of ./pants test ::)
"""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from vllm_parity.parity_requests import REQUESTS, Request
from vllm_parity.servers import Both

VOLATILE = {"id", "created", "system_fingerprint", "service_tier"}
NOT_BY_DEFAULT = {"prompt_tokens_details"}
"""vLLM reports cached tokens with --enable-prompt-tokens-details only; we always do."""
TOLERANCE = 1e-3
"""Between two log-probabilities, natural logarithm, float32 in two libraries."""

OTHER_PARAM = {
    "too long": "vLLM names input_tokens, which is no field of the request",
    "token that does not exist": "vLLM names no field",
    "chat that goes on and begins": "vLLM names no field",
    "chat, no messages": "vLLM names no field",
    "chat, unknown effort": "vLLM writes body. in front",
    "chat, a template": "vLLM names no field",
    "chat, tools": "vLLM names no field",
    "chat, a part of no kind": "vLLM names no field",
    "chat, an image": "vLLM names no field",
    "chat, too long": "vLLM names input_tokens, which is no field of the request",
}
"""Requests whose error names another field."""


def normal(value: Any, nulls: bool = True) -> Any:
    """Without what changes from call to call, and without `nulls` in streams, which have them here and there."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in VOLATILE | NOT_BY_DEFAULT}
        return {key: normal(item, nulls) for key, item in kept.items() if nulls or item is not None}
    if isinstance(value, list):
        return [normal(item, nulls) for item in value]
    return value


def merged(events: list[Any]) -> dict[str, Any]:
    """A stream as a whole, and what fields its events have: vLLM puts two tokens in one event when its client lags."""
    whole: dict[str, Any] = {"usage": None, "fields": set(), "choices": {}}
    for event in normal(events, nulls=False):
        whole["usage"] = event.get("usage", whole["usage"])
        whole["fields"].add(tuple(sorted(event)))
        for choice in event["choices"]:
            into = whole["choices"].setdefault(choice["index"], {"text": "", "logprobs": [], "ends": [], "roles": []})
            delta = choice.get("delta", {})
            into["text"] += choice.get("text", "") + delta.get("content", "")
            into["roles"] += [delta["role"]] if "role" in delta else []
            into["logprobs"].append(choice.get("logprobs"))
            into["ends"] += [choice[key] for key in ("finish_reason", "stop_reason") if key in choice]
    for into in whole["choices"].values():
        into["logprobs"] = _joined([part for part in into["logprobs"] if part])
    return whole


def _joined(parts: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    return {key: [item for part in parts for item in part[key]] for key in (parts[0] if parts else {})}


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = [f"{path}.{key}: only one has it" for key in sorted(theirs.keys() ^ ours.keys())]
        return found + [
            d for key in theirs.keys() & ours.keys() for d in differences(theirs[key], ours[key], f"{path}.{key}")
        ]
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [d for i, pair in enumerate(zip(theirs, ours, strict=True)) for d in differences(*pair, f"{path}[{i}]")]
    if isinstance(theirs, float) and isinstance(ours, float) and math.isclose(theirs, ours, abs_tol=TOLERANCE):
        return []
    return [] if theirs == ours else [f"{path}: vLLM {theirs!r}, ours {ours!r}"]


@pytest.mark.parametrize("request_", REQUESTS, ids=[request[0] for request in REQUESTS])
def test_the_same_answer(both: Both, request_: Request) -> None:
    name, path, body = request_
    theirs, ours = both.ask(path, body)
    assert ours.status == theirs.status
    if theirs.status == 200:
        view = merged if body.get("stream") else normal
        assert differences(view(theirs.body), view(ours.body)) == []
        return
    # Types and codes are OpenAI's ("invalid_request_error"), where vLLM writes names of Python classes and the status.
    assert ours.body["error"].keys() == theirs.body["error"].keys()
    assert ours.body["error"]["message"]
    if name not in OTHER_PARAM:
        assert ours.body["error"]["param"] == theirs.body["error"]["param"]


def test_metrics_have_vllms_kinds_and_labels(both: Both) -> None:
    """Every metric of ours that carries vLLM's prefix exists there, with the same kind and labels."""
    for _, path, body in REQUESTS[:2]:
        both.ask(path, body)
    theirs, ours = (families(text) for text in both.metrics())
    assert len(ours) > 20
    for name, (kind, labels) in ours.items():
        assert name in theirs, name
        assert kind == theirs[name][0], name
        assert labels <= theirs[name][1], name


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Name -> kind, labels of its samples; vLLM's only."""
    kinds = dict(re.findall(r"^# TYPE (vllm:\S+) (\w+)$", text, re.MULTILINE))
    found = {name: (kind, set[str]()) for name, kind in kinds.items() if not name.endswith("_created")}
    for sample, labels in re.findall(r"^(vllm:\w+)\{(.*)\} ", text, re.MULTILINE):
        name = sample if sample in found else re.sub("_(bucket|sum|count)$", "", sample)
        if name in found:
            found[name][1].update(re.findall(r'(\w+)="', labels))
    return found
