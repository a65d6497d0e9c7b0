"""Request models: the contract's, with the fields that vLLM adds.

`logprobs` is a number in completions and a switch in chats, as in OpenAI's API; they share almost all other fields. A
null field counts as left out. `request_fields` handles the fields that are not here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llm_contract.openai import ChatCompletionRequest, ChatMessage, CompletionRequest, GenerationRequest, Request
from llm_engine.errors import RequestError
from llm_engine.structured.params import StructuredOutputs


class JsonSchema(Request):
    name: str | None = None
    schema_: Annotated[dict[str, Any] | bool | None, Field(alias="schema")] = None


class ResponseFormat(Request):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def structured(self) -> StructuredOutputs | None:
        if self.type == "json_object":
            return StructuredOutputs(json_object=True)
        if self.type == "json_schema":
            if self.json_schema is None or self.json_schema.schema_ is None:
                raise RequestError("response_format has type json_schema but no json_schema.schema", "response_format")
            return StructuredOutputs(json=_dumped(self.json_schema.schema_, "response_format"))
        return None


class StructuredOutputsField(Request):
    json_: Annotated[str | dict[str, Any] | None, Field(alias="json")] = None
    json_object: Literal[True] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None

    def structured(self) -> StructuredOutputs:
        return StructuredOutputs(
            json=_dumped(self.json_, "structured_outputs") if isinstance(self.json_, dict) else self.json_,
            json_object=self.json_object,
            regex=self.regex,
            choice=None if self.choice is None else tuple(self.choice),
            grammar=self.grammar,
        )


def _dumped(schema: Any, param: str) -> str:
    try:
        return json.dumps(schema)
    except RecursionError:
        raise RequestError("the JSON schema is nested too deeply", param) from None


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class EngineRequest(GenerationRequest):
    n: Annotated[int, Field(ge=1)] = 1
    seed: Int64 | None = None
    priority: Int64 = 0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    prompt_logprobs: Annotated[int, Field(ge=-1)] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputsField | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[Int64, Field(ge=-1)] | None = None
    """Tokens of the prompt to keep; -1: as many as the context holds."""
    truncation_side: Literal["left", "right"] | None = None
    """The side on which tokens are cut; null: left, so the end of the prompt is kept."""
    request_id: str | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _name_wrong_keys(cls, value: Any) -> Any:
        """Report all wrong keys in one message. Pydantic alone would stop at the first."""
        wrong = [key for key in value if not _is_integer(key)] if isinstance(value, dict) else []
        if wrong:
            raise RequestError(
                f"logit_bias has keys that are not token ids: {', '.join(map(repr, wrong[:10]))}", "logit_bias"
            )
        return value

    @model_validator(mode="after")
    def _check_stream_options(self) -> Self:
        if self.stream_options is not None and self.stream_options.model_fields_set and not self.stream:
            raise RequestError("stream_options can only be set with stream: true", "stream_options")
        return self

    def field_named(self, param: str | None) -> str | None:
        """Return the field of this body that the engine calls `param`."""
        return "response_format" if param == "structured_outputs" and not self.structured_outputs else param

    def structured(self) -> StructuredOutputs | None:
        """Return the structured output that one of the two fields asks for. RequestError if both do."""
        by_format = self.response_format.structured() if self.response_format is not None else None
        if self.structured_outputs is None or not self.structured_outputs.model_fields_set:
            return by_format
        if by_format is not None:
            raise RequestError(
                "response_format and structured_outputs are both given; leave one of them out", "response_format"
            )
        return self.structured_outputs.structured()


class EngineCompletionRequest(EngineRequest, CompletionRequest):
    max_tokens: Annotated[int, Field(ge=0)] | None = 16
    """0, with `echo`: only score the prompt."""
    add_special_tokens: bool = True
    logprobs: Annotated[int, Field(ge=-1, strict=True)] | None = None

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def num_prompt_logprobs(self) -> int | None:
        """The number for the prompt; an echoed prompt has as many as the output."""
        return self.logprobs if self.prompt_logprobs is None and self.echo else self.prompt_logprobs

    def field_named(self, param: str | None) -> str | None:
        return "logprobs" if param == "prompt_logprobs" and self.prompt_logprobs is None else super().field_named(param)


class ToolFunction(Request):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Request):
    type: Literal["function"] = "function"
    function: ToolFunction


class ChatPrompt(Request):
    """The fields that are rendered to a prompt."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool | None = None
    """Whether to add special tokens to those that the template writes; null: only if the model has no template."""
    tools: Annotated[list[Tool], Field(min_length=1)] | None = None
    documents: list[dict[str, Any]] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizeChatRequest(ChatPrompt):
    model: str | None = None
    return_token_strs: bool | None = None


class EngineChatRequest(ChatPrompt, EngineRequest, ChatCompletionRequest):
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=-1)] | None = None
    echo: bool = False
    """Start the answer with the last message if it has the answer's role."""
    tool_choice: str | dict[str, Any] | None = None
    return_prompt_text: bool | None = None

    @model_validator(mode="after")
    def _check_tools(self) -> Self:
        if self.tools is None and self.tool_choice not in (None, "none"):
            raise RequestError("tool_choice is given, but tools is not", "tool_choice")
        if self.tools is not None and self.tool_choice != "none":
            raise RequestError(
                "tools need tool_choice 'none': the model can see them, but calls in its answers are not parsed",
                "tools" if self.tool_choice is None else "tool_choice",
            )
        return self

    @property
    def role(self) -> str:
        """The role of the answer. Without a generation prompt it is the last message's, as in vLLM."""
        return "assistant" if self.add_generation_prompt else self.messages[-1].role

    def field_named(self, param: str | None) -> str | None:
        asked = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        renamed = {"prompt": "messages", "max_tokens": asked, "logprobs": "top_logprobs"}
        return renamed.get(param or "") or super().field_named(param)

    @property
    def num_logprobs(self) -> int | None:
        if not self.logprobs:
            if self.top_logprobs:
                raise RequestError("top_logprobs is set but logprobs is not; set logprobs to true", "top_logprobs")
            return None
        return self.top_logprobs or 0

    @property
    def num_prompt_logprobs(self) -> int | None:
        return self.top_logprobs or 0 if self.prompt_logprobs is None and self.echo else self.prompt_logprobs
