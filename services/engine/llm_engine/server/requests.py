"""The bodies that this engine understands: the contract's, and what vLLM adds to them.

`logprobs` is a number in completions and a switch in chat, as OpenAI has it; everything else they share.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from llm_contract.openai import ChatCompletionRequest, CompletionRequest, GenerationRequest, Request
from llm_engine.errors import RequestError
from llm_engine.structured_params import StructuredOutputs


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
            return StructuredOutputs(json=json.dumps(self.json_schema.schema_))
        return None


class StructuredOutputsField(Request):
    json_: Annotated[str | dict[str, Any] | None, Field(alias="json")] = None
    json_object: Literal[True] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None

    def structured(self) -> StructuredOutputs:
        return StructuredOutputs(
            json=json.dumps(self.json_) if isinstance(self.json_, dict) else self.json_,
            json_object=self.json_object,
            regex=self.regex,
            choice=None if self.choice is None else tuple(self.choice),
            grammar=self.grammar,
        )


class EngineRequest(GenerationRequest):
    n: Annotated[int, Field(ge=1)] = 1
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
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None

    def structured(self) -> StructuredOutputs | None:
        """At most one of the two fields may ask for a shape."""
        by_format = self.response_format.structured() if self.response_format is not None else None
        if self.structured_outputs is None or not self.structured_outputs.model_fields_set:
            return by_format
        if by_format is not None:
            raise RequestError(
                "response_format and structured_outputs both ask for a shape; give one", "response_format"
            )
        return self.structured_outputs.structured()


class EngineCompletionRequest(EngineRequest, CompletionRequest):
    logprobs: Annotated[int, Field(ge=-1, strict=True)] | None = None

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def num_prompt_logprobs(self) -> int | None:
        """An echoed prompt is shown with what the output is shown with."""
        return self.logprobs if self.prompt_logprobs is None and self.echo else self.prompt_logprobs


class EngineChatRequest(EngineRequest, ChatCompletionRequest):
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=-1)] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    @property
    def num_logprobs(self) -> int | None:
        if not self.logprobs:
            if self.top_logprobs:
                raise RequestError("top_logprobs is set but logprobs is not; set logprobs to true", "top_logprobs")
            return None
        return self.top_logprobs or 0

    @property
    def num_prompt_logprobs(self) -> int | None:
        return self.prompt_logprobs
