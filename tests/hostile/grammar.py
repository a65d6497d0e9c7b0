"""A grammar of hostile requests: valid ones with a few fields replaced by extremes, and bytes that are no JSON at all.

`requests(seed)` yields the same endless sequence for the same seed. Field names are those of vLLM's request models, so
that each field meets wrong types, limits of its range, and values that are individually fine but clash.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
TOKENIZE = "/tokenize"
DETOKENIZE = "/detokenize"

Value = Callable[[random.Random], Any]


@dataclass(frozen=True)
class HostileRequest:
    """One POST request; `body` need not be JSON."""

    path: str
    body: bytes


class Literal(float):
    """A number that JSON cannot hold or that Python would print otherwise, sent as `text`."""

    text: str

    def __new__(cls, text: str) -> Literal:
        self = super().__new__(cls, 0.0)
        self.text = text
        return self

    def __repr__(self) -> str:
        return self.text


NUMBERS: list[Any] = [
    *(0, -0.0, 1, -1, 2, 0.5, 1e-8, -1e-8, 5e-324, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, 2**64),
    *(1e10, 1e38, 1e39, -1e39, 1.7976931348623157e308, 10**40),
    *map(Literal, ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E5", "0.10000000000000000000000000001")),
]
STRINGS: list[str] = [
    *(
        "",
        " ",
        "\n",
        "\t",
        "\x00",
        "\x7f",
        "a",
        "é",
        "日本語",
        "👩‍👩‍👧",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\udfff\ud800",
    ),
    *("<|endoftext|>", "<|im_start|>", "{{ 1/0 }}", "{% raise %}", "%s%n", "../../etc/passwd", "a" * 3000, "()" * 500),
]
ODD: list[Any] = [None, True, False, [], {}, [[]], [None], {"": {}}, [{}], {"a": None}, [[[[[]]]]], *NUMBERS, *STRINGS]
NOT_JSON: list[bytes] = [
    *(b"", b"null", b"[]", b"{", b"}", b"\xff\xfe{}", b"\x00", b"NaN", b'"', b'{"prompt":', b"[" * 5000),
    *(
        b'{"a":' * 5000,
        b'{"prompt": "\xff"}',
        b'{"prompt": "x"} {}',
        b"\xef\xbb\xbf{}",
        b'{"prompt": "x", "prompt": 1}',
    ),
]


Choice = TypeVar("Choice")


def pick(source: random.Random, values: Sequence[Choice]) -> Choice:
    return values[source.randrange(len(values))]


def number(source: random.Random) -> Any:
    return pick(source, NUMBERS)


def text(source: random.Random) -> str:
    return pick(source, STRINGS) + pick(source, ["", "def f(", *STRINGS])


def texts(source: random.Random) -> list[str]:
    return [text(source) for _ in range(pick(source, [0, 1, 2, 5, 40]))]


def token_ids(source: random.Random) -> list[int]:
    high = pick(source, [10, 4096, 4097, 2**31, 2**63])
    return [source.randrange(-1 if source.random() < 0.1 else 0, high) for _ in range(pick(source, [0, 1, 3, 20, 600]))]


def prompt(source: random.Random) -> Any:
    kind = source.randrange(6)
    if kind == 0:
        return token_ids(source)
    if kind == 1:
        return [token_ids(source) for _ in range(source.randrange(4))]
    return texts(source) if kind == 2 else text(source)


def content(source: random.Random) -> Any:
    parts: list[Any] = [
        {"type": "text", "text": text(source)},
        {"type": "text", "text": pick(source, ODD)},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": pick(source, ODD)},
        pick(source, ODD),
        text(source),
    ]
    return pick(source, [text(source), parts[: source.randrange(7)], [pick(source, parts)], pick(source, ODD)])


def messages(source: random.Random) -> Any:
    def message() -> Any:
        role = pick(source, ["user", "assistant", "system", "tool", "developer", "", "nobody", pick(source, ODD)])
        said: dict[str, Any] = {"role": role, "content": content(source)}
        if source.random() < 0.2:
            said[pick(source, ["name", "tool_calls", "tool_call_id", "refusal", "reasoning"])] = pick(source, ODD)
        return pick(source, [said, said, said, said, {"role": role}, {"content": "x"}, pick(source, ODD)])

    return [message() for _ in range(pick(source, [0, 1, 1, 1, 2, 5, 100]))]


def json_schema(source: random.Random, depth: int = 0) -> Any:
    """Return a JSON schema, valid or not, small or recursive."""
    simple: list[Any] = [
        *({"type": "string"}, {"type": "integer"}, {"type": "null"}, {"enum": ["a", 1, None]}, {"const": "x"}, True),
        *({"$ref": "#"}, {"$ref": "#/nowhere"}, {"type": "string", "format": "nonsense"}, {"type": "nonsense"}, False),
        *({"type": "string", "pattern": "("}, {"type": "string", "pattern": "(a|b){3}"}, {"minimum": 5, "maximum": 1}),
        *(
            {"type": "string", "minLength": 5, "maxLength": 2},
            {"not": {}},
            {"allOf": [{"type": "string"}, {"type": "null"}]},
        ),
        pick(source, ODD),
    ]
    if depth > 2 or source.random() < 0.5:
        return pick(source, simple)
    inner = json_schema(source, depth + 1)
    return pick(
        source,
        [
            {"type": "object", "properties": {"a": inner, text(source): True}, "required": ["a"]},
            {"type": "array", "items": inner, "minItems": pick(source, [0, 1, 3, 10**6])},
            {"anyOf": [inner, {"type": "string"}]},
            {"oneOf": [inner, inner]},
            {"$defs": {"n": inner}, "$ref": "#/$defs/n"},
            {"type": "object", "additionalProperties": inner},
        ],
    )


def structured(source: random.Random) -> Any:
    kinds: dict[str, Any] = {
        "json": json_schema(source),
        "regex": pick(source, ["[0-9]+", "(", "a{1000000}", "", ".*", "(?=x)", "\\p{L}+", text(source)]),
        "choice": texts(source),
        "grammar": pick(source, ['root ::= "a"', 'start: "a"', "root ::= root", text(source)]),
        "json_object": pick(source, [True, False]),
    }
    names = source.sample(sorted(kinds), pick(source, [1, 1, 1, 2]))
    return {name: kinds[name] for name in names}


def response_format(source: random.Random) -> Any:
    return pick(
        source,
        [
            {"type": "json_object"},
            {"type": "text"},
            {"type": "json_schema", "json_schema": {"name": text(source), "schema": json_schema(source)}},
            {"type": "json_schema"},
            {"type": pick(source, ODD)},
        ],
    )


def biases(source: random.Random) -> Any:
    keys = ["0", "5", "4095", "4096", "-1", "x", "", "1.5", "99999999999999999999"]
    return {pick(source, keys): pick(source, [0, 100, -100, *NUMBERS]) for _ in range(pick(source, [1, 2, 50]))}


def boolean(source: random.Random) -> bool:
    return source.random() < 0.5


SHARED: dict[str, Value] = {
    **dict.fromkeys(
        ["max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "seed", "min_tokens", "presence_penalty"], number
    ),
    **dict.fromkeys(
        ["frequency_penalty", "repetition_penalty", "length_penalty", "priority", "prompt_logprobs"], number
    ),
    **dict.fromkeys(["truncate_prompt_tokens", "logprobs", "best_of", "top_logprobs", "thinking_token_budget"], number),
    **dict.fromkeys(["stop", "bad_words", "logits_processors", "documents", "tools"], texts),
    **dict.fromkeys(["stop_token_ids", "allowed_token_ids"], token_ids),
    **dict.fromkeys(
        ["ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens"], boolean
    ),
    **dict.fromkeys(["include_stop_str_in_output", "echo", "return_token_ids", "return_tokens_as_token_ids"], boolean),
    **dict.fromkeys(["stream", "use_beam_search", "detokenize"], boolean),
    **dict.fromkeys(["user", "request_id", "cache_salt", "suffix", "model", "reasoning_effort", "tool_choice"], text),
    "logit_bias": biases,
    "structured_outputs": structured,
    "response_format": response_format,
    "stream_options": lambda source: {
        pick(source, ["include_usage", "continuous_usage_stats", "other"]): pick(source, [True, True, *ODD])
    },
    "chat_template_kwargs": lambda source: {text(source): pick(source, ODD)},
    "kv_transfer_params": lambda source: {"a": pick(source, ODD)},
    "vllm_xargs": lambda source: {"a": pick(source, ODD)},
}
FIELDS: dict[str, dict[str, Value]] = {
    COMPLETIONS: {**SHARED, "prompt": prompt, "prompt_embeds": text},
    CHAT: {
        **SHARED,
        "messages": messages,
        "add_generation_prompt": boolean,
        "continue_final_message": boolean,
        "chat_template": text,
        "max_completion_tokens": number,
    },
    TOKENIZE: {
        "prompt": prompt,
        "messages": messages,
        "model": text,
        "add_special_tokens": boolean,
        "return_token_strs": boolean,
    },
    DETOKENIZE: {"tokens": token_ids, "model": text},
}
BASES: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "def f(", "max_tokens": 4},
    CHAT: {"messages": [{"role": "user", "content": "add"}], "max_tokens": 4},
    TOKENIZE: {"prompt": "def f("},
    DETOKENIZE: {"tokens": [5, 6]},
}
PATHS = [COMPLETIONS] * 5 + [CHAT] * 4 + [TOKENIZE, DETOKENIZE]


def requests(seed: int) -> Iterator[HostileRequest]:
    source = random.Random(seed)
    while True:
        path = pick(source, PATHS)
        yield HostileRequest(path, _body(source, path))


def _body(source: random.Random, path: str) -> bytes:
    if source.random() < 0.03:
        return pick(source, NOT_JSON)
    body, fields = dict(BASES[path]), FIELDS[path]
    names = sorted(fields)
    for name in source.sample(names, min(len(names), pick(source, [1, 1, 1, 2, 2, 3, 6]))):
        body[name] = pick(source, ODD) if source.random() < 0.2 else fields[name](source)
    encoded = encode(_spelled(body))
    for value in LITERALS:
        encoded = encoded.replace(json.dumps(f"\x01{value}").encode(), value.encode())
    return _damaged(source, encoded) if source.random() < 0.02 else encoded


def encode(body: Any) -> bytes:
    """Encode `body` as JSON, with lone surrogates and NaN; bytes stay as they are."""
    return body if isinstance(body, bytes) else json.dumps(body, default=str).encode()


LITERALS = [value.text for value in NUMBERS if isinstance(value, Literal)]


def _spelled(value: Any) -> Any:
    """Return `value` with each Literal as a marked string, which is replaced in the final text."""
    if isinstance(value, Literal):
        return f"\x01{value.text}"
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


def _damaged(source: random.Random, data: bytes) -> bytes:
    start = source.randrange(len(data) + 1)
    return data[:start] + source.randbytes(source.randrange(4)) + data[start + source.randrange(6) :]
