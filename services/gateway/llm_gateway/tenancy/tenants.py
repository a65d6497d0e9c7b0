"""Tenants: the identity of a client, the classes that it can use, and its share of the engines.

If keys are required, only a request's API key names its tenant. Otherwise, on loopback, a known key still names it,
then `x-tenant`; without either the request is anonymous. A tenant outside the configuration has weight 1, no limits and
no label of its own in metrics.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import ClassTable, PriorityClass
from llm_gateway.tenancy.keys import KeyHash, bearer, digest_in, digest_of
from llm_gateway.tenancy.rate_limit import Limits

RequireKeys = bool | Literal["auto"]

MAX_NAME = 64
ANONYMOUS = "anonymous"
OTHER = "other"
"""Metric label of tenants that are not in the configuration."""

RESERVED = (ANONYMOUS, OTHER)

BUCKET_BYTES = 8
"""Length of the prefix by which digests are looked up. The whole digests are compared in constant time."""


class TenantSettings(BaseModel):
    """A tenant with its keys, weight, limits and classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$")
    keys: tuple[KeyHash, ...] = Field((), description="hashes of its API keys, sha256:<hex>; `llm-gateway key new`")
    weight: float = Field(1.0, gt=0, description="its share of the engines under contention, relative to other tenants")
    rpm: int | None = Field(None, ge=1, description="requests per minute; none: no limit")
    tpm: int | None = Field(None, ge=1, description="tokens per minute, prompt and output; none: no limit")
    default_class: str | None = Field(None, description="class of a request that does not name one")
    most_urgent: str | None = Field(
        None, description="most urgent class that it can use; requests for a higher one get this one"
    )


@dataclass(frozen=True, slots=True)
class Tenant:
    """The tenant of a request."""

    name: str
    label: str
    """Label in metrics, from a small and known set."""
    weight: float = 1.0
    limits: Limits | None = None
    default: PriorityClass | None = None
    most_urgent: PriorityClass | None = None


ANONYMOUS_TENANT = Tenant("", ANONYMOUS)
"""The tenant of all anonymous requests."""


class TenantTable:
    """Finds the tenant of a request. It holds digests of keys, never a key."""

    def __init__(self, tenants: Sequence[TenantSettings], classes: ClassTable, *, keys_required: bool) -> None:
        self.replace(tenants, classes, keys_required=keys_required)

    def replace(self, tenants: Sequence[TenantSettings], classes: ClassTable, *, keys_required: bool) -> None:
        """Exchange the table on a reload. It applies to all requests from now on."""
        self.keys_required = keys_required
        self.by_name = {one.name: _tenant(one, classes) for one in tenants}
        self._by_digest: dict[bytes, list[tuple[bytes, Tenant]]] = {}
        for one in tenants:
            for digest in map(digest_in, one.keys):
                self._by_digest.setdefault(digest[:BUCKET_BYTES], []).append((digest, self.by_name[one.name]))

    def authorization_for(self, own: str | None, request_headers: Mapping[str, str]) -> str | None:
        """Return the Authorization for an engine: its `own`, or the client's if the gateway itself has no keys."""
        if own is not None or self.keys_required or self._by_digest:
            return own
        return request_headers.get(headers.AUTHORIZATION)

    def authenticate(self, request_headers: Mapping[str, str]) -> Tenant:
        """Return the tenant of a request. Raise ApiError (401), which repeats no key, if a valid key is required."""
        if self._by_digest:
            key = bearer(request_headers.get(headers.AUTHORIZATION)) or request_headers.get(headers.API_KEY)
            if key is not None and (found := self._keyed(key)):
                return found
        if self.keys_required:
            message = "a valid API key is required; send it as `Authorization: Bearer <key>`"
            raise ApiError(ErrorKind.UNAUTHORIZED, message)
        name = request_headers.get(headers.TENANT)
        return self._named(name) if name else ANONYMOUS_TENANT

    def _keyed(self, key: str) -> Tenant | None:
        digest = digest_of(key)
        for known, tenant in self._by_digest.get(digest[:BUCKET_BYTES], ()):
            if hmac.compare_digest(known, digest):
                return tenant
        return None

    def _named(self, name: str) -> Tenant:
        known = self.by_name.get(name)
        if known is not None:
            return known
        if len(name) > MAX_NAME or not (name.isascii() and name.isprintable()):
            message = f"{headers.TENANT} must have at most {MAX_NAME} printable ASCII characters"
            raise ApiError(ErrorKind.INVALID_REQUEST, message, param=headers.TENANT)
        return Tenant(name, OTHER)


def check_tenants(tenants: Sequence[TenantSettings], classes: ClassTable) -> None:
    """Raise ValueError for an unknown class, a key shared by two tenants, or a default class above the cap."""
    owners: dict[str, str] = {}
    for one in tenants:
        if one.name in RESERVED:
            raise ValueError(f"tenant {one.name}: the name is reserved for other clients in metrics")
        _check_classes(one, classes)
        for configured in one.keys:
            owner = owners.setdefault(configured.lower(), one.name)
            if owner != one.name:
                raise ValueError(
                    f"tenants {owner} and {one.name} have the same key; each key must belong to one tenant"
                )


def keys_required(host: str, require_keys: RequireKeys, tenants: Sequence[TenantSettings]) -> bool:
    """Return whether keys are required; `auto` means unless the gateway listens on loopback only.

    Raise ValueError if keys are required and no tenant has one.
    """
    required = not is_loopback(host) if require_keys == "auto" else require_keys
    if required and not any(one.keys for one in tenants):
        raise ValueError(
            f"keys are required to listen on {host}, and no tenant has any; `llm-gateway key new` makes one "
            "(`require_keys: false` admits every client)"
        )
    return required


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _tenant(one: TenantSettings, classes: ClassTable) -> Tenant:
    limits = Limits(one.rpm, one.tpm) if one.rpm or one.tpm else None
    default = classes.named(one.default_class) if one.default_class else None
    most_urgent = classes.named(one.most_urgent) if one.most_urgent else None
    return Tenant(one.name, one.name, one.weight, limits, default, most_urgent)


def _check_classes(one: TenantSettings, classes: ClassTable) -> None:
    names = [cls.name for cls in classes]
    for key, name in (("default_class", one.default_class), ("most_urgent", one.most_urgent)):
        if name is not None and name not in names:
            raise ValueError(f"tenant {one.name}: {key} {name!r} is not one of the classes {', '.join(names)}")
    if one.default_class and one.most_urgent:
        default, cap = classes.named(one.default_class), classes.named(one.most_urgent)
        if default.priority < cap.priority:
            raise ValueError(f"tenant {one.name}: default_class {default.name} is above its most_urgent {cap.name}")
