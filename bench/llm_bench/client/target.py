"""The server at the URL, examined before any load: is it up, does it speak the API, which model does it serve."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from llm_bench.client.credentials import NO_CREDENTIALS, Credentials
from llm_bench.errors import TargetError

TIMEOUT = 4.0
"""Seconds for one request: a target that is down is reported within five."""


@dataclass(frozen=True, slots=True)
class Target:
    url: str
    """Without a trailing slash and without `/v1`."""
    host: str
    port: int
    tls: bool
    path: str
    """Path in the URL before `/v1`; usually empty."""
    model: str
    max_model_len: int | None = None
    version: str | None = None


def find_target(url: str, model: str | None, credentials: Credentials = NO_CREDENTIALS) -> Target:
    """Return the target, from `/v1/models` and `/version`. Raises TargetError if it cannot be used."""
    try:
        return _look(_split(url), model, credentials.header())
    except TargetError as error:
        raise TargetError(credentials.blot_out(str(error))) from None


def _look(parts: SplitResult, model: str | None, authorization: str | None) -> Target:
    base = f"{parts.scheme}://{parts.netloc}{parts.path}"
    models = _models(base, model, authorization)
    chosen = model or next(iter(models))
    if chosen not in models:
        raise TargetError(f"{base} has no model {chosen!r}; it serves: {', '.join(models)}")
    tls = parts.scheme == "https"
    return Target(
        url=base,
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        path=parts.path,
        model=chosen,
        max_model_len=models[chosen],
        version=_version(base, authorization),
    )


def _split(url: str) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise TargetError(f"{url!r} is not a target URL; write it like http://127.0.0.1:8000")
    return parts._replace(path=parts.path.rstrip("/").removesuffix("/v1"), query="", fragment="")


def _models(base: str, model: str | None, authorization: str | None) -> dict[str, int | None]:
    """Return the models that `/v1/models` lists, at least one, with their context lengths where it says them.

    A target without the list is taken at its word if `model` is given.
    """
    url = f"{base}/v1/models"
    try:
        status, kind, body = _get(url, authorization)
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise TargetError(f"nothing answers at {base} ({reason}); is the server up, and is the URL right?") from error
    if status == 404 and model:
        return {model: None}
    if status in (401, 403):
        sent = "the API key was refused" if authorization else "no API key was sent; name one with --api-key-env"
        raise TargetError(f"{url} answered HTTP {status} ({sent}): {_excerpt(body)}")
    if status != 200:
        raise TargetError(f"{url} answered HTTP {status}: {_excerpt(body)}")
    try:
        entries = orjson.loads(body)["data"]
        models = {entry["id"]: _length(entry.get("max_model_len")) for entry in entries}
        if not all(isinstance(name, str) and name for name in models):
            raise ValueError("a model's id is not a name")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TargetError(
            f"{url} answered {kind or 'something'} that is not a model list: {_excerpt(body)}; "
            "does the URL name an OpenAI-compatible server?"
        ) from error
    if not models:
        raise TargetError(f"{url} lists no model; is the server still starting?")
    return models


def _length(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _version(base: str, authorization: str | None) -> str | None:
    """Return the server's version for the record; None if anything goes wrong."""
    try:
        status, _, body = _get(f"{base}/version", authorization)
        version = orjson.loads(body)["version"] if status == 200 else None
        return version if isinstance(version, str) else None
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        return None


def _get(url: str, authorization: str | None) -> tuple[int, str, bytes]:
    """Return status, content type and body. Bypasses the environment's proxy, which is not what the bench measures."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(authorized(url, authorization), timeout=TIMEOUT) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read(1 << 20)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read(1 << 16)


def authorized(url: str, authorization: str | None) -> urllib.request.Request:
    """Return a GET request that sends the key to this host only, not to the target of a redirect."""
    request = urllib.request.Request(url)
    if authorization is not None:
        request.add_unredirected_header("Authorization", authorization)
    return request


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:300].decode("utf-8", "replace").split())
    return repr(text[:120]) if text else "an empty body"
