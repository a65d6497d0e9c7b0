"""Structured output: the text satisfies the constraint, whatever the model prefers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.errors import RequestError
from llm_engine.structured.params import MAX_CHARS, StructuredOutputs

MakeEngine = Callable[..., Engine]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 999}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    return Engine(EngineConfig(str(models / "zoo" / "llama"), num_gpu_blocks_override=256, check_invariants=True))


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
    grammar = engine._preparer.grammars.compile(StructuredOutputs(choice=("ab",)))
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


DEEP = 20_000
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a broken regex": ({"regex": "(a"}, "cannot be compiled"),
    "a regex without a text": ({"regex": r"[^\s\S]"}, "no text can satisfy it"),
    "look-around": ({"regex": "(?=a)b"}, "look-around"),
    "a broken grammar": ({"grammar": "start: nothing"}, "cannot be compiled"),
    "a grammar without an end": ({"grammar": 'start: start "a"'}, "no text can satisfy it"),
    "no JSON": ({"json": "{"}, "not valid JSON"),
    "no schema": ({"json": "[]"}, "must be an object"),
    "nothing": ({"json": "false"}, "no text can satisfy"),
    "itself": ({"json": '{"$ref": "#"}'}, "no text can satisfy it"),
    "a circle": ({"json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}}, "no text can satisfy it"),
    "no such type": ({"json": {"type": "no such type"}}, "no such type"),
    "bounds that cross": ({"json": {"type": "integer", "minimum": 5, "maximum": 3}}, "Unsatisfiable"),
    "an impossible property": ({"json": {"type": "object", "required": ["a"], "properties": {"a": False}}}, "'a'"),
    "no such definition": ({"json": {"$ref": "#/nowhere"}}, "nowhere"),
    "another file": ({"json": {"$ref": "http://example.com/schema"}}, "example.com"),
    **{
        f"the keyword {name}": ({"json": {"type": "array", name: value}}, name)
        for name, value in {
            "not": {},
            "if": {},
            "contains": {},
            "uniqueItems": True,
            "propertyNames": {},
            "dependentRequired": {},
            "dependentSchemas": {"a": {}},
            "dependencies": {},
            "unevaluatedProperties": False,
            "$dynamicRef": "#a",
        }.items()
    },
    "oneOf that overlaps": ({"json": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}, "oneOf"),
    "too long": ({"regex": "a" * MAX_CHARS + "b"}, "at most 131072"),
    "nested too deeply": ({"json": '{"items":' * 5000 + "{}" + "}" * 5000}, "deep"),
    "brackets": ({"regex": "(" * DEEP + ")" * DEEP}, "cannot be compiled"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled_or_satisfied_is_refused_before_it_is_queued(engine: Engine, name: str) -> None:
    given, message = REFUSED[name]
    shape = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in given.items()}
    with pytest.raises(RequestError, match=re.escape(message)) as error:
        engine.prepare([5], SamplingParams(structured=StructuredOutputs(**shape)))
    assert error.value.param == "structured_outputs"


def test_chains_that_are_longer_than_the_stack_do_not_end_the_process(engine: Engine) -> None:
    links = 3900
    chain = {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(links)}
    schema = {"$ref": "#/$defs/a0", "$defs": {**chain, f"a{links}": {"const": 1}}}
    rules = "".join(f"a{i}: a{i + 1}\n" for i in range(links)) + f'a{links}: "1"'
    for shape in (
        StructuredOutputs(json=json.dumps(schema, separators=(",", ":"))),
        StructuredOutputs(grammar="start: a0\n" + rules),
    ):
        assert generate(engine, [shape]) == [("1", "stop")]


@pytest.mark.parametrize("fmt", ["int32", "regex", "idn-email", "uri-reference", "of-our-own"])
def test_a_format_that_is_not_known_is_an_annotation(engine: Engine, fmt: str) -> None:
    item = {"type": "string", "format": fmt, "maxLength": 4}
    schema = {
        "type": "object",
        "properties": {"format": item, "const": {"anyOf": [item]}, "same": {"const": {"format": fmt}}},
        "required": ["format", "const", "same"],
        "additionalProperties": False,
    }
    ((text, reason),) = generate(engine, [StructuredOutputs(json=json.dumps(schema))])
    assert reason == "stop"
    assert json.loads(text)["same"] == {"format": fmt}


@pytest.mark.parametrize("fmt", ["date", "uuid", "ipv4"])
def test_a_known_format_is_enforced(engine: Engine, fmt: str) -> None:
    shape = StructuredOutputs(json=json.dumps({"type": "string", "format": fmt}))
    patterns = {"date": r"\d{4}-\d\d-\d\d", "uuid": r"[0-9a-fA-F-]{36}", "ipv4": r"[0-9.]{7,15}"}
    ((text, _),) = generate(engine, [shape])
    assert re.fullmatch(patterns[fmt], json.loads(text))


@pytest.mark.parametrize("call", ["unsafe_compute_mask_ptr", "consume_token"])
def test_a_matcher_that_gives_up_on_the_way_is_an_error_and_never_a_stop(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class GivesUp:
        """A matcher that is out of its limits after four calls."""

        def __init__(self, matcher: Any) -> None:
            self._matcher, self._left = matcher, 4

        def __getattr__(self, name: str) -> Any:
            self._left -= name == call
            return getattr(self._matcher, name)

        def is_error(self) -> bool:
            return self._left <= 0

        def get_error(self) -> str:
            return "ParserTooComplex"

    params = SamplingParams(structured=StructuredOutputs(regex="[a-z]{40}"), max_tokens=60)
    prepared = engine.prepare([5], params)
    grammar = prepared.sequence.grammar
    assert grammar is not None
    monkeypatch.setattr(grammar, "_matcher", GivesUp(grammar._matcher))
    engine.enqueue("a", prepared)
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert outputs[-1].finish_reason == "error"
    assert isinstance(outputs[-1].error, RequestError)
    assert "ParserTooComplex" in str(outputs[-1].error)
    assert {output.finish_reason for output in outputs[:-1]} <= {None}
    assert engine.kv_cache.pool.usage == 0


def test_masks_that_leave_no_token_are_an_error(engine: Engine) -> None:
    (end,) = engine.tokenizer.eos_token_ids
    params = SamplingParams(allowed_token_ids=(end,), min_tokens=2, max_tokens=4)
    engine.add_request("a", [5], params)
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert [type(output.error) for output in outputs] == [RequestError]


@pytest.mark.parametrize("given", [{}, {"regex": "a", "choice": ("b",)}, {"choice": ()}])
def test_exactly_one_shape(given: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        StructuredOutputs(**given)  # type: ignore[arg-type]
