"""A hundred requests that both servers get: (name, path, body). Their answers are determined, so that they compare."""

from __future__ import annotations

from typing import Any

CODE = "def fibonacci(n):\n    "
IMPORTS = "import os\nimport sys\n\n"
CLASS = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n"
TALK = [{"role": "user", "content": "add"}, {"role": "assistant", "content": "def add(a"}]
TEXT = {"type": "text", "text": "import "}
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "content": "b", "tool_call_id": "1"},
]
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"], "additionalProperties": False}

Request = tuple[str, str, dict[str, Any]]


def _complete(name: str, **fields: Any) -> Request:
    return name, "/v1/completions", {"model": "main", "prompt": CODE, "temperature": 0, "max_tokens": 12, **fields}


def _chat(name: str, **fields: Any) -> Request:
    messages = [{"role": "user", "content": "def add(a, b):"}]
    return (
        name,
        "/v1/chat/completions",
        {"model": "main", "messages": messages, "temperature": 0, "max_tokens": 10, **fields},
    )


def _tokens(name: str, path: str, **fields: Any) -> Request:
    return name, path, {"model": "main", **fields}


REQUESTS: list[Request] = [
    _complete("greedy"),
    _complete("greedy, other prompt", prompt=IMPORTS, max_tokens=40),
    _complete("greedy, class", prompt=CLASS, max_tokens=40),
    _complete("one token", max_tokens=1),
    _complete("several answers", n=2, temperature=1.0, top_k=1),
    _complete("two prompts", prompt=[CODE, IMPORTS]),
    _complete("token ids", prompt=[10, 20, 30, 40]),
    _complete("lists of token ids", prompt=[[10, 20, 30], [40, 50]]),
    _complete("stop string", max_tokens=60, stop=["\n"]),
    _complete("stop strings", max_tokens=60, stop=["return", "self"]),
    _complete("stop string that is kept", max_tokens=60, stop=["\n"], include_stop_str_in_output=True),
    _complete("stop that never comes", stop=["§§§"]),
    _complete("minimum length", max_tokens=20, min_tokens=10, stop=["\n"]),
    _complete("end of text ignored", max_tokens=60, ignore_eos=True),
    _complete("logprobs", logprobs=3),
    _complete("logprobs of the chosen only", logprobs=0),
    _complete("echo", echo=True),
    _complete("echo with logprobs", echo=True, logprobs=2, max_tokens=3),
    _complete("prompt logprobs", prompt_logprobs=2, max_tokens=2),
    _complete("token ids in the answer", return_token_ids=True),
    _complete("repetition penalty", repetition_penalty=1.3, max_tokens=40),
    _complete("presence penalty", presence_penalty=1.5, max_tokens=40),
    _complete("frequency penalty", frequency_penalty=1.5, max_tokens=40),
    _complete("all penalties", presence_penalty=0.5, frequency_penalty=0.5, repetition_penalty=1.1, max_tokens=40),
    _complete("logit bias", logit_bias={"70": 100}, max_tokens=4),
    _complete("allowed tokens", allowed_token_ids=[70, 80, 90], max_tokens=4),
    _complete("bad words", bad_words=["return", "if"], max_tokens=30),
    _complete("one of k", temperature=1.0, top_k=1),
    _complete("choice", structured_outputs={"choice": ["red", "green", "blue"]}),
    _complete("regex", structured_outputs={"regex": "[0-9]{4}-[0-9]{2}"}, max_tokens=20),
    _complete("json schema", structured_outputs={"json": SCHEMA, "disable_any_whitespace": True}, max_tokens=30),
    _complete("streamed", stream=True),
    _complete("streamed with usage", stream=True, stream_options={"include_usage": True}),
    _complete("streamed with a stop string", stream=True, stop=["\n"], max_tokens=60),
    _complete("streamed with logprobs", stream=True, logprobs=1, max_tokens=4),
    _complete("unknown model", model="other"),
    _complete("empty prompt", prompt=""),
    _complete("too long", prompt=[5] * 1100),
    _complete("too much output", max_tokens=5000),
    _complete("temperature out of range", temperature=-1),
    _complete("top_p out of range", top_p=0),
    _complete("too many logprobs", logprobs=50),
    _complete("token that does not exist", prompt=[10**6]),
    _complete("special token in the prompt", prompt="<|endoftext|>def f(", echo=True),
    _complete("many bytes, echoed", prompt="# 日本 é 😀\n", echo=True),
    _complete("only the prompt", echo=True, logprobs=1, max_tokens=0),
    _complete("only the prompt, streamed", echo=True, max_tokens=0, stream=True),
    _complete("no output and no echo", max_tokens=0),
    _complete("tokens as ids", return_tokens_as_token_ids=True, logprobs=0, max_tokens=1),
    _complete("no special tokens in front", add_special_tokens=False),
    _complete(
        "special tokens are shown", skip_special_tokens=False, allowed_token_ids=[0], ignore_eos=True, max_tokens=2
    ),
    _complete("the end of a prompt", truncate_prompt_tokens=3),
    _complete("the beginning of a prompt", truncate_prompt_tokens=3, truncation_side="right"),
    _complete("truncated to more than there is", prompt=[5] * 20, truncate_prompt_tokens=2000),
    _complete("output up to the end of the context", prompt=[5] * 1000, max_tokens=200, ignore_eos=True),
    _complete("fields of no effect", user="u", session_id="s", length_penalty=2.0, nobody_knows_this=1),
    _complete("null fields", stream=None, echo=None, stop=None, logprobs=None, temperature=0, top_p=None),
    _complete("stream options without a stream", stream_options={"include_usage": True}),
    _complete("continuous usage", stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}),
    _complete(
        "a stop token that is kept", allowed_token_ids=[70], stop_token_ids=[70], include_stop_str_in_output=True
    ),
    _chat("chat, echo", messages=TALK, add_generation_prompt=False, continue_final_message=True, echo=True),
    _chat("chat, echo of another role", echo=True),
    _chat("chat, prompt text", return_prompt_text=True),
    _chat("chat, effort", reasoning_effort="low"),
    _chat("chat, unknown effort", reasoning_effort="huge"),
    _chat("chat, template variables", chat_template_kwargs={"x": 1}),
    _chat("chat, a template variable that is an argument of transformers", chat_template_kwargs={"tokenize": True}),
    _chat("chat, a template", chat_template="{{ 1 }}"),
    _chat("chat, tools that are only shown", tools=TOOLS, tool_choice="none"),
    _chat("chat, tools", tools=TOOLS),
    _chat("chat, no tools", tools=[]),
    _chat("chat, a choice of no tools", tool_choice="auto"),
    _chat("chat, several parts", messages=[{"role": "user", "content": [TEXT, {"type": "text", "text": None}, TEXT]}]),
    _chat("chat, a part of no kind", messages=[{"role": "user", "content": [{"text": "a"}]}]),
    _chat("chat, an image", messages=[{"role": "user", "content": [{"type": "spaceship"}]}]),
    _chat("chat, a developer", messages=[{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}]),
    _chat("chat, a tool call", messages=CALLED),
    _chat("chat, too long", messages=[{"role": "user", "content": "é " * 1000}]),
    _chat("chat, limit by its other name", max_completion_tokens=3),
    _chat("chat"),
    _chat("chat, streamed", stream=True, stream_options={"include_usage": True}),
    _chat("chat, two answers", n=2, temperature=1.0, top_k=1),
    _chat("chat, logprobs", logprobs=True, top_logprobs=2),
    _chat("chat, logprobs of the chosen only", logprobs=True),
    _chat("chat, streamed with logprobs", logprobs=True, top_logprobs=1, stream=True),
    _chat("chat, token ids", return_token_ids=True),
    _chat("chat, prompt logprobs", prompt_logprobs=1),
    _chat("chat, no generation prompt", add_generation_prompt=False),
    _chat("chat that goes on", messages=TALK, add_generation_prompt=False, continue_final_message=True),
    _chat("chat that goes on and begins", messages=TALK, continue_final_message=True),
    _chat("chat, stop", stop=["\n"], max_tokens=40),
    _chat("chat, choice", structured_outputs={"choice": ["yes", "no"]}),
    _chat("chat, parts", messages=[{"role": "user", "content": [{"type": "text", "text": "import "}]}]),
    _chat("chat, top_logprobs without logprobs", top_logprobs=2),
    _chat("chat, no messages", messages=[]),
    _tokens("tokenize", "/tokenize", prompt=CLASS),
    _tokens("tokenize without special tokens", "/tokenize", prompt=CODE, add_special_tokens=False),
    _tokens("tokenize, names", "/tokenize", prompt="a é", return_token_strs=True),
    _tokens("tokenize a chat", "/tokenize", messages=TALK, add_generation_prompt=False),
    _tokens("detokenize", "/detokenize", tokens=[10, 20, 30, 400]),
]
