"""Structured output: whatever the model would like to write, what it writes has the shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import torch

from llm_engine import Engine, SamplingParams
from llm_engine.errors import RequestError
from llm_engine.structured_params import StructuredOutputs

MakeEngine = Callable[..., Engine]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 999}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def generate(engine: Engine, shapes: list[StructuredOutputs], **params: object) -> list[tuple[str, str]]:
    for index, shape in enumerate(shapes):
        wanted = SamplingParams(structured=shape, max_tokens=200, **params)  # type: ignore[arg-type]
        engine.add_request(str(index), engine.tokenizer.encode("import os\n"), wanted, only_final=True)
    done = {}
    while engine.has_work:
        for output in engine.step():
            assert output.finish_reason is not None
            done[output.request_id] = (output.text, output.finish_reason.value)
    return [done[str(index)] for index in range(len(shapes))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_kind_of_shape_in_one_batch(make_engine: MakeEngine, temperature: float) -> None:
    shapes = [
        StructuredOutputs(regex=r"[0-9]{3}-[a-f]{2}"),
        StructuredOutputs(choice=("yes", "no", "per haps+")),
        StructuredOutputs(json=json.dumps(SCHEMA)),
        StructuredOutputs(grammar='start: "a" ("b" | "c")~2'),
    ]
    number, choice, text, grammar = generate(make_engine(), shapes, temperature=temperature)
    assert re.fullmatch(r"[0-9]{3}-[a-f]{2}", number[0])
    assert choice[0] in ("yes", "no", "per haps+")
    person = json.loads(text[0])
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)
    assert re.fullmatch("a[bc]{2}", grammar[0])
    assert {number[1], choice[1], text[1], grammar[1]} == {"stop"}


def test_the_shape_survives_preemption(make_engine: MakeEngine) -> None:
    engine = make_engine(num_gpu_blocks_override=12, block_size=4, max_model_len=48)
    for index in range(6):
        shape = StructuredOutputs(regex="[0-9]{20}")
        engine.add_request(str(index), [5] * 10, SamplingParams(structured=shape, max_tokens=30), only_final=True)
    texts = []
    while engine.has_work:
        texts += [output.text for output in engine.step()]
    assert engine.num_preemptions > 0
    assert len(texts) == 6
    assert all(re.fullmatch("[0-9]{20}", text) for text in texts)


def test_answers_to_one_prompt_each_have_their_own_place_in_the_grammar(make_engine: MakeEngine) -> None:
    engine = make_engine()
    params = SamplingParams(structured=StructuredOutputs(regex="[a-z]{6}"), n=4, seed=1, max_tokens=20)
    engine.add_request("a", [5, 6, 7], params, only_final=True)
    texts = []
    while engine.has_work:
        texts += [output.text for output in engine.step()]
    assert len(set(texts)) > 1
    assert all(re.fullmatch("[a-z]{6}", text) for text in texts)


def test_the_mask_allows_just_what_may_come_next(make_engine: MakeEngine) -> None:
    engine = make_engine()
    grammar = engine._grammars.compile(StructuredOutputs(choice=("ab",)))
    tokens = {engine.tokenizer.decode([token]): token for token in range(engine.vocab_size)}

    def allowed() -> list[int]:
        logits = torch.zeros(engine.vocab_size)
        grammar.mask(logits)
        return torch.isfinite(logits).nonzero().flatten().tolist()

    assert set(allowed()) <= {tokens["a"], tokens.get("ab", -1)}
    grammar.accept(tokens["a"])
    assert allowed() == [tokens["b"]]
    grammar.accept(tokens["b"])
    assert allowed() == list(engine.tokenizer.eos_token_ids)


@pytest.mark.parametrize(
    "shape",
    [
        StructuredOutputs(regex="(a"),
        StructuredOutputs(grammar="start: nothing"),
        StructuredOutputs(json="{"),
        StructuredOutputs(json='{"type": "no such type"}'),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_it_is_queued(
    make_engine: MakeEngine, shape: StructuredOutputs
) -> None:
    engine = make_engine()
    with pytest.raises(RequestError) as error:
        engine.add_request("a", [5], SamplingParams(structured=shape))
    assert error.value.param == "structured_outputs"
    assert not engine.has_work


@pytest.mark.parametrize("given", [{}, {"regex": "a", "choice": ("b",)}, {"choice": ()}])
def test_exactly_one_shape(given: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        StructuredOutputs(**given)  # type: ignore[arg-type]
