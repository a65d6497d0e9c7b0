"""JSON schemas, changed where the grammar library is stricter than the specification."""

from __future__ import annotations

import json
from typing import Any

from llm_engine.errors import RequestError
from llm_engine.structured.params import PARAM

KNOWN_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"))
"""Formats that the library enforces. It refuses all others."""
DATA = frozenset(("const", "default", "enum", "example", "examples"))
"""Keywords whose value is data, not a schema."""
NAMED_SCHEMAS = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
"""Keywords whose value maps names to schemas. The names can look like keywords."""


def without_unknown_formats(text: str) -> str:
    """Return the schema without the `format`s that the library does not know. RequestError if the text is no schema.

    Unknown formats are annotations (JSON Schema, draft 2020-12, Validation, section 7.2.1).
    """
    try:
        schema = json.loads(text)
        if schema is False:
            raise RequestError("the JSON schema is false, which no text can satisfy", PARAM)
        if not isinstance(schema, dict) and schema is not True:
            raise RequestError("the JSON schema must be an object or true", PARAM)
        return json.dumps({} if schema is True else _strip(schema))
    except ValueError as error:
        raise RequestError(f"the JSON schema is not valid JSON: {error}", PARAM) from None
    except RecursionError:
        raise RequestError("the JSON schema is nested too deeply", PARAM) from None


def _strip(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strip(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _strip_value(name, value)
        for name, value in schema.items()
        if not (name == "format" and isinstance(value, str) and value not in KNOWN_FORMATS)
    }


def _strip_value(name: str, value: Any) -> Any:
    if name in DATA:
        return value
    if name in NAMED_SCHEMAS and isinstance(value, dict):
        return {key: _strip(item) for key, item in value.items()}
    return _strip(value)
