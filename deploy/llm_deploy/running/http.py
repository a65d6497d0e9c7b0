"""HTTP requests as a client or an operator sends them, with what went wrong as a status of 0."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
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
    try:
        with urllib.request.urlopen(_request(url, key, body, headers, method=method), timeout=timeout) as response:
            return Answer(response.status, response.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(errors="replace"))
    except (OSError, HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")


def stream(url: str, *, key: str, body: object, on_first: Callable[[], None], timeout: float) -> str:
    """Return all that a streaming answer sends, up to where it breaks. `on_first` is called at its first line.

    It never raises for what a server or a network does.
    """
    received: list[str] = []
    try:
        with urllib.request.urlopen(_request(url, key, body), timeout=timeout) as response:
            for line in response:
                if not received:
                    on_first()
                received.append(line.decode(errors="replace"))
    except (OSError, HTTPException) as error:
        received.append(f"{type(error).__name__}: {error}")
    return "".join(received)


def _request(
    url: str, key: str, body: object, headers: dict[str, str] | None = None, *, method: str | None = None
) -> urllib.request.Request:
    sent = {"Content-Type": "application/json", **(headers or {})}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.Request(url, data, sent, method=method)
