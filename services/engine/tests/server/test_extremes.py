"""Every numeric field at its limits gives a token or a 400, and NaN is reported as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.errors import ModelError, NumericalError, RequestError

FLOATS = st.sampled_from(
    [0.0, -0.0, 5e-324, 1e-320, 1e-46, 1e-38, 1e-5, 0.01, 0.5, 1.0, 1.5, 2.0, 100.0, 1e30, 3.4e38, 1e39, 1.7e308]
).flatmap(lambda value: st.sampled_from([value, -value])) | st.floats(allow_nan=False, allow_infinity=False)
INTS = st.sampled_from(
    [0, 1, 2, 7, 20, 128, 129, 4095, 4096, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64]
).flatmap(lambda value: st.sampled_from([value, -value]))
SMALL = st.integers(1, 6)
"""Values for counts of tokens and answers: small, because large ones take long."""
TOKENS = st.lists(INTS | st.integers(0, 4095), max_size=4)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": FLOATS | st.floats(0, 2),
    "top_p": FLOATS | st.floats(0, 1),
    "top_k": INTS,
    "min_p": FLOATS | st.floats(0, 1),
    "seed": INTS,
    "n": SMALL | INTS.filter(lambda value: not 6 < value <= 128),
    "max_tokens": SMALL | INTS.filter(lambda value: not 6 < value <= 2048),
    "min_tokens": SMALL | INTS,
    "presence_penalty": FLOATS | st.floats(-2, 2),
    "frequency_penalty": FLOATS | st.floats(-2, 2),
    "repetition_penalty": FLOATS,
    "logit_bias": st.dictionaries((INTS | st.integers(0, 4095)).map(str), FLOATS, max_size=4),
    "stop_token_ids": TOKENS,
    "allowed_token_ids": TOKENS,
    "logprobs": INTS,
    "prompt_logprobs": INTS,
    "priority": INTS,
    "prompt": TOKENS | st.just("import os"),
}


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as connected:
        yield connected


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields=st.fixed_dictionaries({}, optional=FIELDS))
def test_any_numbers_give_a_token_or_a_400(client: httpx2.Client, server: Any, fields: dict[str, Any]) -> None:
    answer = client.post("/v1/completions", json={"prompt": [5, 6], "max_tokens": 3, "ignore_eos": True, **fields})
    if answer.status_code == 400:
        assert answer.json()["error"]["message"]
        return
    assert answer.status_code == 200, (fields, answer.text)
    body = answer.json()
    assert body["usage"]["completion_tokens"] >= len(body["choices"]) >= 1
    assert {choice["finish_reason"] for choice in body["choices"]} <= {"stop", "length"}


EXTREMES: list[dict[str, Any]] = [
    {"logit_bias": {5: 1e39}},
    {"logit_bias": {5: 1.7e308, 6: -1.7e308}},
    {"repetition_penalty": 5e-324},
    {"repetition_penalty": 1.7e308},
    {"repetition_penalty": 1.7e308, "allowed_token_ids": (5, 6)},
    {"top_p": 5e-324},
    {"min_p": 5e-324},
    {"min_p": 1.0, "top_p": 1e-46, "top_k": 2**40},
    {"presence_penalty": 2.0, "frequency_penalty": -2.0, "repetition_penalty": 5e-324},
    {"seed": -(2**70)},
]


@pytest.mark.parametrize("speculation", [None, {"method": "ngram", "num_speculative_tokens": 2}])
@pytest.mark.parametrize("temperature", [0.0, 1e-5, 2.0])
def test_extremes_write_all_tokens(models: Path, temperature: float, speculation: dict[str, Any] | None) -> None:
    engine = Engine(
        EngineConfig(
            str(models / "zoo" / "llama"), num_gpu_blocks_override=256, speculative_config=speculation, max_model_len=64
        )
    )
    for index, fields in enumerate(EXTREMES):
        params = SamplingParams(temperature=temperature, max_tokens=5, ignore_eos=True, **fields)
        engine.add_request(str(index), [5, 6] * 5, params, only_final=True)
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert [(output.error, len(output.token_ids)) for output in outputs] == [(None, 5)] * len(EXTREMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_checkpoint_that_is_damaged_is_refused_at_load(models: Path, tmp_path: Path, value: float) -> None:
    source = models / "zoo" / "llama"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name].view(-1)[7] = value
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=f"{name} holds NaN or infinity"):
        Engine(EngineConfig(str(tmp_path), num_gpu_blocks_override=128))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("value", "message"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_logits_that_are_no_numbers_are_an_error_of_their_request_alone(
    make_engine: Any, value: float, message: str, temperature: float
) -> None:
    engine = make_engine()
    forward = engine._runner._forward

    def damaged(batch: Any) -> torch.Tensor:
        logits: torch.Tensor = forward(batch)
        for row, rows in enumerate(batch.wanted):
            if rows.sequence.request_id == "damaged":
                logits[row, 9] = value
        return logits

    engine._runner._forward = damaged
    params = SamplingParams(temperature=temperature, max_tokens=4, ignore_eos=True)
    for name in ("damaged", "sound"):
        engine.add_request(name, [5, 6, 7], params, only_final=True)
    outputs = {}
    while engine.has_work:
        outputs.update({output.request_id: output for output in engine.step()})
    assert isinstance(outputs["damaged"].error, NumericalError)
    assert message in str(outputs["damaged"].error)
    assert (outputs["sound"].error, len(outputs["sound"].token_ids)) == (None, 4)


LIMITS = {
    20: {20: True, 21: False, -1: False},
    0: {0: True, 1: False},
    -1: {-1: True, 4096: True, 4097: False},
    4096: {-1: True},
    4095: {-1: False},
}
"""--max-logprobs -> asked for -> whether it is allowed. The vocabulary has 4,096 tokens."""


@pytest.mark.parametrize(
    ("limit", "asked", "is_allowed"), [(limit, *row) for limit, rows in LIMITS.items() for row in rows.items()]
)
@pytest.mark.parametrize("field", ["logprobs", "prompt_logprobs"])
def test_the_limit_of_logprobs_is_vllms(make_engine: Any, field: str, limit: int, asked: int, is_allowed: bool) -> None:
    engine = make_engine(max_logprobs=limit)
    params = SamplingParams(max_tokens=1, **{field: asked})
    if not is_allowed:
        with pytest.raises(RequestError) as error:
            engine.prepare([5, 6], params)
        assert error.value.param == field
        return
    engine.add_request("a", [5, 6], params)
    (output,) = engine.step()
    places = output.logprobs if field == "logprobs" else output.prompt_logprobs[1:]
    least = engine.vocab_size if asked == -1 else asked
    assert all(max(1, least) <= len(at) <= least + 1 for at in places)
