"""The reader: from the bytes of a body to submissions, through JSON, fields, chat template, tokens and limits.

The result depends on the bytes and on immutable state only, so any process can read a body; `intake` chooses one.
Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from llm_contract.errors import ApiError, ErrorKind
from llm_contract.openai import DetokenizeRequest, TokenizeRequest
from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.errors import ContextLengthError, RequestError
from llm_engine.request.check import RequestCheck
from llm_engine.server.errors import fields_named_by, from_validation
from llm_engine.server.reading import prompts, request_fields
from llm_engine.server.reading.prompts import MAX_ANSWERS
from llm_engine.server.reading.rendering import render_chat
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest, TokenizeChatRequest
from llm_engine.server.reading.submission import Submission

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reader:
    """The reader of one server's bodies. Methods raise ApiError or RequestError if a body is wrong."""

    tokenizer: AnyTokenizer
    check: RequestCheck
    model_name: str
    trust_template: bool = False
    """Whether requests can bring their own chat template."""

    def completion(self, raw: bytes) -> tuple[EngineCompletionRequest, list[Submission]]:
        """Return the body and one submission per prompt."""
        asked = self._parse(raw, EngineCompletionRequest)
        with fields_named_by(asked):
            return asked, self._checked(prompts.completion_submissions(self.tokenizer, self.check, asked))

    def chat(self, raw: bytes) -> tuple[EngineChatRequest, list[Submission], str | None]:
        """Return the body, its submission and, if the answer has to repeat it, the rendered prompt."""
        asked = self._parse(raw, EngineChatRequest)
        with fields_named_by(asked):
            submission, text = prompts.chat_submission(self.tokenizer, self.check, asked, self.trust_template)
            return asked, self._checked([submission]), text if asked.return_prompt_text else None

    def tokenize(self, raw: bytes) -> bytes:
        """Return the response's body."""
        fields = _load(raw)
        if isinstance(fields, dict) and "messages" in fields:
            chat = self._validate(fields, TokenizeChatRequest)
            _, ids = render_chat(self.tokenizer, self.check, chat, trust_template=self.trust_template)
            wants_names = chat.return_token_strs
        else:
            asked = self._validate(fields, TokenizeRequest)
            ids = self.tokenizer.encode(asked.prompt, asked.add_special_tokens)
            wants_names = asked.return_token_strs
        names = self.tokenizer.names(ids) if wants_names else None
        length = self.check.max_model_len
        return orjson.dumps({"count": len(ids), "max_model_len": length, "tokens": ids, "token_strs": names})

    def detokenize(self, raw: bytes) -> bytes:
        """Return the response's body."""
        asked = self._parse(raw, DetokenizeRequest)
        if not self.tokenizer.has_text:
            raise RequestError("the engine runs without a tokenizer and cannot turn tokens into text", "tokens")
        self.check.check_ids(asked.tokens, "tokens")
        return orjson.dumps({"prompt": self.tokenizer.decode(asked.tokens, skip_special_tokens=False)})

    def check_model(self, name: str | None) -> None:
        """Raise ApiError if the request names another model."""
        if name and name != self.model_name:
            message = f"The model `{name}` does not exist. `{self.model_name}` does."
            raise ApiError(ErrorKind.MODEL_NOT_FOUND, message, param="model")

    def _parse(self, raw: bytes, model: type[B]) -> B:
        return self._validate(_load(raw), model)

    def _validate(self, fields: Any, model: type[B]) -> B:
        self._check_counts(fields)
        try:
            asked = model.model_validate(fields)
        except ValidationError as error:
            raise from_validation(error, fields) from None
        self.check_model(getattr(asked, "model", None))
        request_fields.reject(asked)
        return asked

    def _check_counts(self, fields: Any) -> None:
        """Refuse lists that are far too long before their items are validated."""
        if not isinstance(fields, dict):
            return
        prompts, messages = fields.get("prompt"), fields.get("messages")
        if isinstance(prompts, list) and len(prompts) > MAX_ANSWERS and not isinstance(prompts[0], int):
            raise RequestError(f"{len(prompts)} prompts are too many; one request can have {MAX_ANSWERS}", "prompt")
        if isinstance(messages, list) and len(messages) > self.check.max_model_len:
            raise ContextLengthError(
                f"this model's maximum context length is {self.check.max_model_len} tokens, but there are "
                f"{len(messages)} messages; leave out the oldest",
                "messages",
            )

    def _checked(self, submissions: list[Submission]) -> list[Submission]:
        for submission in submissions:
            self.check(submission.prompt_ids, submission.params)
        return submissions


def _load(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(ErrorKind.INVALID_REQUEST, f"the request body is not JSON: {error}") from None
