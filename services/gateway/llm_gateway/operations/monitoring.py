"""Access to pages that name tenants and engines: /metrics, /sla, /sla/report and the details of /ready.

There is one switch. If it is open, every client can read them, and sees engines by their names, which are addresses
unless configured otherwise. If it is closed, these pages need `monitoring.key` or `admin.key`, /ready only says whether
an engine is up, and clients see `engine-1`, `engine-2`, … in place of addresses.
"""

from __future__ import annotations

from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.keys import bearer, digest_in, matches
from llm_gateway.tenancy.tenants import is_loopback


class Monitoring:
    """The switch and the keys."""

    def __init__(self, settings: GatewaySettings, *, keys_required: bool) -> None:
        self.update(settings, keys_required=keys_required)

    def update(self, settings: GatewaySettings, *, keys_required: bool) -> None:
        """Take over a reloaded configuration."""
        given = settings.monitoring.open
        self.closed = keys_required or not is_loopback(settings.host) if given == "auto" else not given
        self._digests = [digest_in(key) for key in (settings.monitoring.key, settings.admin.key) if key is not None]

    def may_see(self, request: web.Request) -> bool:
        """Return whether this request can see names of tenants and engines."""
        if not self.closed:
            return True
        key = bearer(request.headers.get(headers.AUTHORIZATION))
        return any(matches(key, digest) for digest in self._digests)

    def check(self, request: web.Request) -> None:
        """Raise ApiError (401) unless this request can see names of tenants and engines."""
        if not self.may_see(request):
            message = "this page needs a key: `monitoring.key` or `admin.key`, as `Authorization: Bearer <key>`"
            raise ApiError(ErrorKind.UNAUTHORIZED, message)
