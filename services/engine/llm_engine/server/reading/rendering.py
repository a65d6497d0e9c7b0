"""From a chat request to its prompt, as text and as tokens."""

from __future__ import annotations

from typing import Any, TypeVar

from llm_contract.openai import Request
from llm_engine.checkpoint.tokenizer import AnyTokenizer, NoTokenizer
from llm_engine.errors import RequestError
from llm_engine.request.check import RequestCheck
from llm_engine.server.reading.messages import conversation
from llm_engine.server.reading.requests import ChatPrompt, EngineRequest, Tool

T = TypeVar("T")

NOT_FOR_TEMPLATES = ("messages", "chat_template")
"""Variables that `chat_template_kwargs` cannot set."""


def render_chat(
    tokenizer: AnyTokenizer, check: RequestCheck, body: ChatPrompt, *, trust_template: bool
) -> tuple[str, list[int]]:
    """Render a chat. Return its text and its tokens. RequestError if the template refuses it or it cannot be served.

    A model's template writes special tokens itself; the plain template does not. `trust_template`: accept a template
    in the request.
    """
    if isinstance(tokenizer, NoTokenizer):
        raise RequestError("the engine runs without a tokenizer, which chats need", "messages")
    if body.chat_template is not None and not trust_template:
        raise RequestError(
            "chat_template is given, but the server was started without --trust-request-chat-template", "chat_template"
        )
    if body.continue_final_message and body.add_generation_prompt:
        raise RequestError(
            "continue_final_message and add_generation_prompt contradict each other; set one of them to false",
            "continue_final_message",
        )
    tools = None if body.tools is None else [_as_dict(tool) for tool in body.tools]
    template = tokenizer.chat_templates.select(body.chat_template, has_tools=tools is not None)
    text = template.render(
        conversation(body.messages, template),
        {**tokenizer.special_tokens, **_variables(body)},
        tools=tools,
        documents=body.documents,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continue_final_message,
    )
    brings_special_tokens = tokenizer.chat_templates.exist or body.chat_template is not None
    add = not brings_special_tokens if body.add_special_tokens is None else body.add_special_tokens
    asked = tokenizable(text, body, check, tokenizer.longest_token)
    return text, tokenizer.encode(asked, add_special_tokens=add)


def _as_dict(tool: Tool) -> dict[str, Any]:
    function = tool.function
    known = {"name": function.name, "description": function.description, "parameters": function.parameters}
    return {"type": tool.type, "function": known}


def tokenizable(text: str, body: Request, check: RequestCheck, longest_token: int) -> str:
    """Return the text, or the part that `truncate_prompt_tokens` can keep. ContextLengthError if it cannot fit."""
    if getattr(body, "truncate_prompt_tokens", None) is None:
        check.check_size(text, longest_token)
        return text
    most = check.max_model_len * longest_token
    return text[:most] if getattr(body, "truncation_side", None) == "right" else text[-most:]


def truncate(items: list[T], body: EngineRequest, max_model_len: int) -> list[T]:
    """Cut a prompt to `truncate_prompt_tokens`. -1 keeps all but one token of the context, for the output."""
    count = body.truncate_prompt_tokens
    if count is None:
        return items
    if count > max_model_len:
        raise RequestError(
            f"truncate_prompt_tokens is {count}; it must be at most the context, {max_model_len}",
            "truncate_prompt_tokens",
        )
    count = max_model_len - 1 if count == -1 else count
    if count >= len(items):
        return items
    return items[:count] if body.truncation_side == "right" else items[len(items) - count :]


def _variables(body: ChatPrompt) -> dict[str, Any]:
    """Return the template variables that the request sets. A reasoning effort also switches thinking on or off."""
    given = body.chat_template_kwargs or {}
    if reserved := given.keys() & set(NOT_FOR_TEMPLATES):
        raise RequestError(f"chat_template_kwargs must not have {min(reserved)!r}", "chat_template_kwargs")
    if body.reasoning_effort is None:
        return given
    return {"enable_thinking": body.reasoning_effort != "none", **given, "reasoning_effort": body.reasoning_effort}
