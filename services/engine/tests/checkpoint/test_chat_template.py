"""Chat templates: the features that templates use, where they are found, and the messages they get."""

# ruff: noqa: E501

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from llm_contract.openai import ChatMessage
from llm_engine.checkpoint.chat_template import compile_template
from llm_engine.checkpoint.tokenizer import Tokenizer
from llm_engine.errors import RequestError
from llm_engine.server.reading.messages import conversation

HELLO = [{"role": "user", "content": "hello"}]
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "<a href='x'>é 日本 😀</a>"},
    {"role": "assistant", "content": "  two\nlines  "},
    {"role": "user", "content": ""},
]
ODD = {
    "break": "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "continue": "{% for m in messages %}{% if m.role != 'user' %}{% continue %}{% endif %}{{ m.content }};{% endfor %}",
    "tojson": "{{ messages[0] | tojson }}",
    "tojson, nested and indented": "{{ {'b': messages, 'a': {'z': none, 'y': [1, true, 2.5]}} | tojson(indent=2) }}",
    "tojson, with its options": "{{ messages | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "namespace that reaches out": "{% set ns = namespace(_x=0) %}{{ ns }}",
    "namespace that reaches out later": "{% set ns = namespace() %}{% set ns._x = 1 %}{{ ns._x }}",
    "dict": "{{ dict(a=1, b='é') }}{{ dict.fromkeys(['x'], 2) }}",
    "dict that reaches out": "{{ dict.__class__ }}",
    "macro": "{% macro say(m, end='!') %}[{{ m.role }}: {{ m.content }}{{ end }}]{% endmacro %}{{ say(messages[0]) }}",
    "call": "{% macro twice() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call twice() %}x{% endcall %}",
    "generation": "{% for m in messages %}{% generation %}{% set x = 1 %}{{ m.content }}{% endgeneration %}{{ x }}{% endfor %}",
    "blocks and their lines": "{% for m in messages %}\n    {% if m %}\n  {{ m.role }}\n    {% endif %}\n{% endfor %}\nend\n",
    "comments": "a {# not this #} b\n  {# nor this #}\nc",
    "undefined": "[{{ nothing }}{{ messages[0].nothing }}{% if bos_token is defined %}bos{% endif %}]",
    "special tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ sep_token }}",
    "tools and documents that are not there": "{{ tools is none }}{{ documents is none }}",
    "raise_exception": "{{ raise_exception('no ' + messages[0].role) }}",
    "division by zero": "{{ 1 / 0 }}",
    "attribute of nothing": "{{ nothing.at.all }}",
    "too long a range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "Python": "{{ messages.__class__.__mro__ }}",
    "change": "{{ messages.append(1) }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "string methods": "{{ messages[1].content.strip().split('\\n') | join('|') }}{{ 'a' in 'abc' }}{{ 'x'.startswith('x') }}",
    "slices and filters": "{{ messages[::-1][0].role }}{{ messages | map(attribute='role') | list }}{{ messages | length }}",
    "syntax error": "{% for %}",
    "unknown tag": "{% spaceship %}",
    "unknown filter": "{{ messages | spaceship }}",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_templates_do_what_they_do_in_transformers(name: str) -> None:
    variables = {"eos_token": "</s>"}
    try:
        (expected,), _ = render_jinja_template([CHAT], chat_template=ODD[name], add_generation_prompt=True, **variables)
    except Exception:  # noqa: BLE001 - transformers raised any exception; here it must be a RequestError
        with pytest.raises(RequestError):
            compile_template(ODD[name]).render(CHAT, variables)
    else:
        assert compile_template(ODD[name]).render(CHAT, variables) == expected


def test_the_date_is_todays() -> None:
    from datetime import datetime

    assert compile_template("{{ strftime_now('%Y') }}").render(HELLO) in {str(datetime.now().year)}


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(models / "main" / name, tmp_path)
    return tmp_path


def configure(folder: Path, **changes: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


NAMED = [{"name": "default", "template": "default"}, {"name": "tool_use", "template": "with tools"}]
EXTRA = "additional_chat_templates/tool_use.jinja"


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"chat_template": "in the settings {{ bos_token }}"}, {}),
        ({"chat_template": "in the settings"}, {"chat_template.jinja": "in a file"}),
        ({"chat_template": NAMED}, {}),
        ({"chat_template": NAMED}, {"chat_template.jinja": "in a file"}),
        ({"chat_template": NAMED[1:]}, {}),
        ({}, {"chat_template.jinja": "in a file", EXTRA: "tools in a file"}),
        ({}, {EXTRA: "tools in a file"}),
        (
            {
                "chat_template": "{{ bos_token }}|{{ unk_token }}",
                "bos_token": {"__type": "AddedToken", "content": "<s>"},
            },
            {},
        ),
    ],
)
@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "f"}}]])
def test_templates_are_found_where_transformers_finds_them(
    folder: Path, settings: dict[str, Any], files: dict[str, str], tools: Any
) -> None:
    configure(folder, **settings)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    ours = Tokenizer(folder)
    try:
        expected = theirs.apply_chat_template(HELLO, tools=tools, tokenize=False)
    except ValueError:
        with pytest.raises(RequestError, match="none of them is the default"):
            ours.chat_templates.select(None, tools is not None)
    else:
        template = ours.chat_templates.select(None, tools is not None)
        assert template.render(HELLO, ours.special_tokens, tools=tools) == expected


def test_the_plain_template_when_the_model_has_none(folder: Path) -> None:
    assert Tokenizer(folder).chat_templates.select().render(HELLO) == "user: hello\nassistant:"


def test_a_template_that_does_not_compile_refuses_chats_and_nothing_else(
    folder: Path, start_server: Callable[..., Any]
) -> None:
    configure(folder, chat_template="{% for %}")
    Tokenizer(folder)
    server = start_server(num_gpu_blocks_override=128)
    server.engine.tokenizer.chat_templates = Tokenizer(folder).chat_templates
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        response = client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 1})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
        assert "does not compile" in response.json()["error"]["message"]
        assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200


STRINGS = "{% for m in messages %}{{ m.content }}{% endfor %}"
PARTS = [
    "{% for m in messages %}{% for part in m['content'] %}{{ part.text }}{% endfor %}{% endfor %}",
    "{% for m in messages %}{% for part in m.content | list %}{{ part.text }}{% endfor %}{% endfor %}",
    "{% for m in messages %}{% set content = m.content %}{% for part in content %}{{ part.text }}{% endfor %}{% endfor %}",
]


@pytest.mark.parametrize("source", [STRINGS, *PARTS])
@pytest.mark.parametrize("content", ["ab", [{"type": "text", "text": "ab"}], ["ab"]])
def test_a_template_gets_text_or_parts_as_it_wants_them(source: str, content: Any) -> None:
    template = compile_template(source)
    assert template.wants_parts == (source in PARTS)
    assert template.render(conversation([ChatMessage(role="user", content=content)], template)) == "ab"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": None}, {"content": ""}),
        ({"role": "user", "content": []}, {"content": ""}),
        ({"role": "user", "content": ["a", {"type": "input_text", "text": "b"}]}, {"content": "a\nb"}),
        ({"role": "user", "content": [{"type": "text", "text": None}, "b"]}, {"content": "b"}),
        ({"role": "user", "content": "a", "name": "n", "mood": "good"}, {"content": "a", "name": "n"}),
        ({"role": "tool", "content": "a", "tool_call_id": "1"}, {"content": "a", "tool_call_id": "1"}),
        ({"role": "assistant", "tool_calls": []}, {"content": ""}),
        ({"role": "assistant", "reasoning": "r"}, {"content": "", "reasoning": "r", "reasoning_content": "r"}),
    ],
)
def test_what_becomes_of_a_message(message: dict[str, Any], expected: dict[str, Any]) -> None:
    template = compile_template(STRINGS)
    assert conversation([ChatMessage.model_validate(message)], template) == [{"role": message["role"], **expected}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("{broken", {}),
        ("[1]", {}),
        ("", {}),
        (None, {}),
        ("[" * 9999, {}),
    ],
)
def test_the_arguments_of_a_tool_call_become_an_object(given: Any, expected: Any) -> None:
    message = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": given}}]}
    (parsed,) = conversation([ChatMessage.model_validate(message)], compile_template(STRINGS))
    assert parsed["tool_calls"] == [{"id": "1", "function": {"name": "f", "arguments": expected}}]


def test_developer_messages_for_templates_that_do_not_know_them() -> None:
    messages = [
        ChatMessage(role=role, content=text)
        for role, text in (("system", "a"), ("user", "b"), ("developer", "c"), ("user", "d"))
    ]
    assert conversation(messages, compile_template(STRINGS)) == [
        {"role": "system", "content": "a\n\nc"},
        {"role": "user", "content": "b"},
        {"role": "user", "content": "d"},
    ]
    knowing = compile_template("{{ 'developer' }}")
    assert [message["role"] for message in conversation(messages, knowing)] == ["system", "user", "developer", "user"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}, "image_url"),
        ({"content": [{"type": "spaceship"}]}, "spaceship"),
        ({"content": [{"text": "no type"}]}, "content[0]"),
        ({"content": [{"type": 7, "text": "a"}]}, "content[0]"),
        ({"content": ["a", {"type": "text", "text": 7}]}, "content[1].text"),
        ({"content": [{"type": "thinking", "thinking": None}]}, "content[0].thinking"),
        ({"tool_calls": 7}, "tool_calls"),
        ({"tool_calls": [7]}, "tool_calls[0]"),
        ({"tool_calls": [{"type": "custom", "function": {}}]}, "tool_calls[0]"),
        ({"tool_calls": [{"function": "f"}]}, "tool_calls[0]"),
    ],
)
def test_messages_that_cannot_be_read_are_named(message: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        conversation([ChatMessage.model_validate({"role": "assistant", **message})], compile_template(STRINGS))
    assert words in str(caught.value)
    assert caught.value.param == "messages"
