"""The shape of a structured output: a JSON schema, any JSON object, a regex, a choice or a grammar."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

from llm_engine.errors import RequestError


@dataclass(frozen=True, slots=True)
class StructuredOutputs:
    """The constraint of one request, with the names of vLLM's `structured_outputs`. RequestError if it is wrong."""

    json: str | None = None
    """A JSON schema, serialised."""
    json_object: bool | None = None
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    grammar: str | None = None
    """Lark syntax."""

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if len(given) != 1:
            allowed = ", ".join(field.name for field in fields(self))
            found = " and ".join(given) or "none"
            raise RequestError(f"structured_outputs must have exactly one of {allowed}; it has {found}", PARAM)
        if self.choice == ():
            raise RequestError("structured_outputs.choice is empty; it must hold at least one text", PARAM)
        size = sum(map(len, self.choice or ())) + len(self.json or self.regex or self.grammar or "")
        if size > MAX_CHARS:
            raise RequestError(f"structured_outputs has {size} characters; at most {MAX_CHARS} are allowed", PARAM)

    @classmethod
    def of_schema(cls, schema: str | dict[str, Any] | bool) -> StructuredOutputs:
        return cls(json=schema if isinstance(schema, str) else json.dumps(schema))

    def choice_regex(self) -> str:
        assert self.choice is not None
        return "|".join(re.escape(text) for text in self.choice)


PARAM = "structured_outputs"
MAX_CHARS = 128 * 1024
"""Largest constraint. The time to compile a schema grows with the square of its size; this much takes seconds."""
