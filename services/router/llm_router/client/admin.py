"""The admin API of an edge, from outside."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8001"
TIMEOUT = 30.0


class AdminError(Exception):
    """The router refused, failed or is not there. The message is for people."""


class AdminApi:
    """The admin API at one URL."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        self._url = url.rstrip("/")

    def status(self) -> dict[str, Any]:
        """Return what the edge says under /-/status. Its `control` is a `llm_router.status.Status`."""
        return self._ask("/-/status")

    def deploy(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("/-/deploy", config)

    def scale(self, model: str, replicas: int) -> dict[str, Any]:
        return self._ask("/-/scale", {"model": model, "replicas": replicas})

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise AdminError(_message(error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise AdminError(f"no router answers at {self._url}: {reason}; --admin names another address") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"{error.url} answered {error.code} {error.reason}"
