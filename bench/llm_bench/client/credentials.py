"""API keys: environment variables hold them, and only those variables' names are ever written down.

`--api-key-env NAME` names the run's variable. The default is OPENAI_API_KEY if it is set, as for other clients of this
API. If NAME is not set, NAME_FILE names a file that holds the key, as containers get their secrets. A scenario can name
one for each tenant. A key is sent in `Authorization: Bearer` and nowhere else: not to results, and not to the host of a
redirect. It is redacted where a target repeats it in an error message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llm_bench.errors import ScenarioError

DEFAULT_VARIABLE = "OPENAI_API_KEY"
BLOT = "[API key]"

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Capitals only: any other text can be the key itself, and must not be repeated in a message."""
WHAT_A_NAME_IS = (
    "name the environment variable that holds the key, in capitals such as OPENAI_API_KEY, and not the key itself"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Names of variables; the keys are read where they are used."""

    variable: str | None = None
    """Environment variable of the run's key; None sends requests without one."""
    tenants: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the tenants that have a key of their own."""

    def key(self, tenant: str | None = None) -> str | None:
        variable = self.tenants.get(tenant or "", self.variable)
        return None if variable is None else read_key(variable)

    def header(self, tenant: str | None = None) -> str | None:
        """Return the value of the `Authorization` header."""
        key = self.key(tenant)
        return None if key is None else f"Bearer {key}"

    def blot_out(self, text: str) -> str:
        """Return `text` with every key redacted."""
        for variable in {*self.tenants.values(), *filter(None, [self.variable])}:
            text = text.replace(read_key(variable), BLOT)
        return text


NO_CREDENTIALS = Credentials()


def find_credentials(named: str | None, tenants: Mapping[str, str]) -> Credentials:
    """Return the run's credentials.

    `named`: the user's variable. Raises ScenarioError if a named variable holds no key.
    """
    variable = named or (DEFAULT_VARIABLE if _value(DEFAULT_VARIABLE) else None)
    credentials = Credentials(variable, dict(tenants))
    for tenant in (None, *tenants):
        credentials.key(tenant)
    return credentials


def is_variable_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def read_key(variable: str) -> str:
    """Return the key in `variable`. Raises ScenarioError, which names the variable and never its value."""
    key = _value(variable)
    if not key:
        raise ScenarioError(f"the environment variable {variable} holds no API key: set it, or name another")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ScenarioError(f"the environment variable {variable} holds characters that no API key may have")
    return key


def _value(variable: str) -> str:
    """Return the key in a variable, or in the file that its twin names; empty without either."""
    if key := os.environ.get(variable, "").strip():
        return key
    path = os.environ.get(f"{variable}_FILE", "")
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the file in {variable}_FILE cannot be read: {error}") from None
