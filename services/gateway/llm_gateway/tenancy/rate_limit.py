"""Rate limits per tenant, in requests and tokens per minute: token buckets that refill continuously.

A bucket of L per minute holds at most L and gains L/60 per second. So any period of T seconds admits at most
L + L·T/60 units: the bucket's content plus its gain. A refused request takes nothing from either bucket. Its
Retry-After is the exact time after which it would be admitted if no other request came.

Tokens are charged by estimate on arrival and settled by actual use at the end. This can leave the bucket below zero, a
debt that is paid before the next request. So over any period the limit holds for actual use, up to the estimation
errors of requests in flight. A grant is settled once; further calls change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llm_contract.errors import ApiError, ErrorKind

SECONDS_PER_MINUTE = 60.0

ROUNDING = 1e-6
"""Tolerance in units, so that a client that waits the exact time is not refused for a rounding error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits per minute; None means no limit."""

    requests: int | None
    tokens: int | None


@dataclass(slots=True)
class Grant:
    """The answer to one request: admitted, or the time to retry; and the state of the buckets after it."""

    tenant: str
    limits: Limits
    tokens: int = 0
    """Tokens that were charged and will be settled."""
    open: bool = False
    """Admitted and not settled yet."""
    requests_left: float = math.inf
    tokens_left: float = math.inf
    retry_after: float = 0.0
    """Seconds until it would be admitted; inf if it needs more than a minute's worth."""
    refused_by: str = ""
    """`requests` or `tokens`, the limit with the longer wait; empty if the request was admitted."""

    def headers(self) -> dict[str, str]:
        """Return `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, as OpenAI's API sends them."""
        found: dict[str, str] = {}
        for kind, limit, left in (
            ("requests", self.limits.requests, self.requests_left),
            ("tokens", self.limits.tokens, self.tokens_left),
        ):
            if limit is not None:
                found[f"x-ratelimit-limit-{kind}"] = str(limit)
                found[f"x-ratelimit-remaining-{kind}"] = str(max(0, math.floor(left + ROUNDING)))
                found[f"x-ratelimit-reset-{kind}"] = duration((limit - left) * SECONDS_PER_MINUTE / limit)
        return found


class Limiter(Protocol):
    """The rate limits of all tenants."""

    async def acquire(self, tenant: str, limits: Limits, tokens: int) -> Grant:
        """Charge a request of about `tokens` tokens to both buckets, or to neither: see `Grant.refused_by`."""
        ...

    async def settle(self, grant: Grant, used: int) -> None:
        """Settle a finished request that used `used` tokens, 0 if it never ran. A second call changes nothing."""
        ...


class Bucket:
    """A token bucket with `level` units at time `since`. A negative level is debt."""

    __slots__ = ("level", "limit", "since")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self.level = float(limit)
        self.since = now

    def refill(self, now: float) -> None:
        self.level = min(float(self.limit), self.level + (now - self.since) * self.limit / SECONDS_PER_MINUTE)
        self.since = now

    def change_limit(self, limit: int, now: float) -> None:
        """Change the limit and keep the level: a reload must not fill the bucket or cancel its debt."""
        self.refill(now)
        self.limit = limit
        self.level = min(self.level, float(limit))

    def wait(self, units: float) -> float:
        """Return the seconds from the last refill until it holds `units`, inf if it never will."""
        if self.level + ROUNDING >= units:
            return 0.0
        if units > self.limit:
            return math.inf
        return (units - self.level) * SECONDS_PER_MINUTE / self.limit

    def put_back(self, units: float) -> None:
        """Add units, up to the limit. A negative number takes more."""
        self.level = min(float(self.limit), self.level + units)


class LocalLimiter:
    """The limits of one gateway process. It keeps one bucket per configured tenant and limit."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}

    async def acquire(self, tenant: str, limits: Limits, tokens: int) -> Grant:
        now = self._clock()
        requests = _bucket(self._requests, tenant, limits.requests, now)
        budget = _bucket(self._tokens, tenant, limits.tokens, now)
        wait_requests = requests.wait(1) if requests else 0.0
        wait_tokens = budget.wait(tokens) if budget else 0.0
        grant = Grant(tenant, limits)
        if wait_requests or wait_tokens:
            grant.retry_after = max(wait_requests, wait_tokens)
            grant.refused_by = "requests" if wait_requests >= wait_tokens else "tokens"
        else:
            _charge(grant, requests, budget, tokens)
        grant.requests_left = requests.level if requests else math.inf
        grant.tokens_left = budget.level if budget else math.inf
        return grant

    async def settle(self, grant: Grant, used: int) -> None:
        was_open, grant.open = grant.open, False
        bucket = self._tokens.get(grant.tenant)
        if bucket is not None and was_open:
            bucket.refill(self._clock())
            bucket.put_back(grant.tokens - used)

    async def close(self) -> None:
        """Do nothing: no connection is open."""

    def keep(self, tenants: frozenset[str]) -> None:
        """Drop the buckets of all other tenants, on a reload."""
        for buckets in (self._requests, self._tokens):
            for gone in buckets.keys() - tenants:
                del buckets[gone]


def refusal(grant: Grant) -> ApiError:
    """Return the error for a refused grant, without Retry-After if waiting would not help."""
    limit = grant.limits.requests if grant.refused_by == "requests" else grant.limits.tokens
    if grant.retry_after == math.inf:
        message = f"the request needs more than the {limit} tokens per minute allowed; send a shorter request"
        return ApiError(ErrorKind.RATE_LIMITED, message)
    message = f"over the limit of {limit} {grant.refused_by} per minute; retry in {grant.retry_after:.3g} s"
    return ApiError(ErrorKind.RATE_LIMITED, message, retry_after=grant.retry_after)


def duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: 20ms, 1.5s, 6m0s."""
    milliseconds = max(0, math.ceil(seconds * 1000 - ROUNDING))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s"


def _bucket(buckets: dict[str, Bucket], tenant: str, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    bucket = buckets.get(tenant)
    if bucket is None:
        bucket = buckets[tenant] = Bucket(limit, now)
    elif bucket.limit != limit:
        bucket.change_limit(limit, now)
    else:
        bucket.refill(now)
    return bucket


def _charge(grant: Grant, requests: Bucket | None, budget: Bucket | None, tokens: int) -> None:
    grant.open = True
    grant.tokens = tokens
    if requests is not None:
        requests.level -= 1
    if budget is not None:
        budget.level -= tokens
