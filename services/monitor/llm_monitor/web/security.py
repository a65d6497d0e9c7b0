"""Access to the monitor, and the headers of every answer.

On loopback everyone may read, and write what a page writes: silences and annotations. On any other address each request
needs a key, as `Authorization: Bearer KEY` or as the password of HTTP Basic, which browsers ask for by themselves.
Settings hold only the SHA-256 of a key. A request whose Host names neither the address nor a configured name is
refused, so that a foreign page cannot reach the monitor by rebinding its own name to loopback. A write that a browser
sends from another site is refused as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from llm_monitor.web.api import json_response

OPEN_PATHS = ("/health", "/ready")
"""Paths of probes, which have no key."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_READING = ("GET", "HEAD")
_READ_BY_POST = "/api/v1/"
"""Prometheus's API takes its queries as POST as well."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hash_key(key: str) -> str:
    """Return a key as settings hold it: `sha256:…`."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def guard(host: str, names: Sequence[str], keys: Sequence[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return the middleware for a monitor that listens on `host` and is known under `names`."""
    allowed = {"localhost", "127.0.0.1", "[::1]", host.lower(), *(name.lower() for name in names)}
    open_to_all = is_loopback(host) and not keys

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refused := _refusal(request, allowed, open_to_all, keys):
            refused.headers.update(HEADERS)
            return refused
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return check


def _refusal(request: web.Request, allowed: set[str], open_to_all: bool, keys: Sequence[str]) -> web.Response | None:
    if request.path in OPEN_PATHS:
        return None
    name = request.host.lower()
    if name not in allowed and name.rpartition(":")[0] not in allowed and not keys:
        return _refuse(421, f"this monitor is not {request.host}; add the name to web.names")
    if not open_to_all and not _has_key(request, keys):
        response = _refuse(401, "send a key: Authorization: Bearer KEY, or HTTP Basic with the key as password")
        response.headers["WWW-Authenticate"] = 'Basic realm="llm-monitor", charset="UTF-8"'
        return response
    is_write = request.method not in _READING and not request.path.startswith(_READ_BY_POST)
    if is_write and request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return _refuse(403, "a page of another site cannot write here")
    return None


def _has_key(request: web.Request, keys: Sequence[str]) -> bool:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    given = hash_key(value)
    return sum(hmac.compare_digest(given, key) for key in keys) > 0  # compares all, whichever matches


def _refuse(status: int, message: str) -> web.Response:
    return json_response({"status": "error", "errorType": "refused", "error": message}, status=status)
