"""HTTP requests as a client or an operator sends them, with what went wrong as a status of 0."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

TIMEOUT = 10.0


@dataclass(frozen=True)
class Answer:
    status: int
    """0: there was no answer, and `text` says why."""
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    url: str,
    *,
    key: str = "",
    body: object = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
    timeout: float = TIMEOUT,
) -> Answer:
    """Send a request, with JSON if there is a body. It never raises for what a server or a network does."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return Answer(response.status, response.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(errors="replace"))
    except (OSError, HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")
