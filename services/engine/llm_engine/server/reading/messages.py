"""Chat messages: from the request's message objects to those that the template gets, as in vLLM.

Only text content is supported. A message keeps its role, its content and the fields that templates read: `name`,
`tool_calls` with their arguments as objects, `tool_call_id`, `reasoning`.
"""

from __future__ import annotations

import json
from typing import Any

from llm_contract.openai import ChatMessage
from llm_engine.checkpoint.chat_template import Template
from llm_engine.errors import RequestError

Message = dict[str, Any]

TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal", "thinking": "thinking"}
"""Type of a content part -> the field that holds its text."""
MAY_BE_NULL = ("text", "refusal")
"""Types of content parts that are left out if their text is null."""
PARAM = "messages"


def conversation(messages: list[ChatMessage], template: Template) -> list[Message]:
    """Return the messages for the template. RequestError for content other than text and calls other than functions."""
    chat = [_message(message, f"messages[{place}]", template) for place, message in enumerate(messages)]
    if any(message["role"] == "developer" for message in chat) and not template.knows_developer:
        return _system_first([{**m, "role": "system"} if m["role"] == "developer" else m for m in chat])
    return chat


def last_text(messages: list[ChatMessage]) -> str:
    """Return the text of the last message, which `echo` repeats."""
    return "\n".join(_texts(messages[-1].content, f"messages[{len(messages) - 1}]"))


def _message(message: ChatMessage, where: str, template: Template) -> Message:
    texts, extra = _texts(message.content, where), message.model_extra or {}
    parts: Any = [{"type": "text", "text": text} for text in texts]
    wants_parts = template.wants_parts and message.role != "tool"
    found: Message = {"role": message.role, "content": parts if wants_parts else "\n".join(texts)}
    if message.role == "assistant":
        calls = extra.get("tool_calls")
        if calls is not None and (found_calls := _tool_calls(calls, where)):
            found["tool_calls"] = found_calls
        reasoning = next((extra[name] for name in ("reasoning", "reasoning_content") if extra.get(name)), None)
        if reasoning is not None:
            found |= {"reasoning": reasoning, "reasoning_content": reasoning}
    if message.role == "tool" and "tool_call_id" in extra:
        found["tool_call_id"] = extra["tool_call_id"]
    if isinstance(extra.get("name"), str):
        found["name"] = extra["name"]
    if message.role == "developer" and isinstance(extra.get("tools"), list):
        found["tools"] = extra["tools"]
    return found


def _texts(content: str | list[Any] | None, where: str) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    texts = [_text(part, f"{where}.content[{place}]") for place, part in enumerate(content)]
    return [text for text in texts if text is not None]


def _text(part: Any, where: str) -> str | None:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise RequestError(f"{where} has no type; it must be an object with a type and a text", PARAM)
    if kind not in TEXT_PARTS:
        allowed = ", ".join(sorted(TEXT_PARTS))
        raise RequestError(f"{where} has the type {kind!r}, which is not supported; supported: {allowed}", PARAM)
    text = part.get(TEXT_PARTS[kind])
    if text is None and kind in MAY_BE_NULL:
        return None
    if not isinstance(text, str):
        raise RequestError(f"{where}.{TEXT_PARTS[kind]} must be a string", PARAM)
    return text


def _tool_calls(calls: Any, where: str) -> list[Message]:
    if not isinstance(calls, list):
        raise RequestError(f"{where}.tool_calls must be a list", PARAM)
    return [_tool_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> Message:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise RequestError(f"{where} must be an object of type 'function' with a function", PARAM)
    return {**call, "function": {**function, "arguments": _arguments(function.get("arguments"))}}


def _arguments(arguments: Any) -> Message:
    """Return the arguments as an object. Invalid JSON becomes {}: a model wrote it, and later turns must not fail."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return {}
    return arguments if isinstance(arguments, dict) else {}


def _system_first(chat: list[Message]) -> list[Message]:
    """Merge the system messages into one at the front: some templates accept no other order."""
    system = [message for message in chat if message["role"] == "system"]
    if system == chat[:1]:
        return chat
    texts = [
        content if isinstance(content, str) else "\n".join(part["text"] for part in content)
        for content in (message["content"] for message in system)
    ]
    merged = {"role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [merged, *(message for message in chat if message["role"] != "system")]
