from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.tenancy.rate_limit import Bucket, Grant, Limits, LocalLimiter, duration, refusal


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_both_limits_are_told_like_openai_tells_them() -> None:
    limiter = LocalLimiter(Clock())
    grant = await limiter.acquire("blue", Limits(60, 6000), 1500)
    assert grant.refused_by == ""
    assert grant.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "4500",
        "x-ratelimit-reset-tokens": "15s",
    }


async def test_a_limit_that_is_not_set_is_not_told() -> None:
    grant = await LocalLimiter(Clock()).acquire("blue", Limits(None, 100), 10)
    assert set(grant.headers()) == {f"x-ratelimit-{one}-tokens" for one in ("limit", "remaining", "reset")}


async def test_a_refused_request_takes_nothing_from_either_bucket() -> None:
    limiter = LocalLimiter(Clock())
    limits = Limits(60, 100)
    assert (await limiter.acquire("blue", limits, 90)).refused_by == ""
    for _ in range(3):
        refused = await limiter.acquire("blue", limits, 20)
        assert refused.refused_by == "tokens"
        assert refused.retry_after == pytest.approx(6.0)
        assert refused.requests_left == pytest.approx(59)
        error = refusal(refused)
        assert error.kind.code == "rate_limit_exceeded"
        assert error.message == "over the limit of 100 tokens per minute; retry in 6 s"
        assert error.headers() == {"retry-after": "6"}
    assert (await limiter.acquire("blue", limits, 10)).refused_by == ""


async def test_a_request_over_a_whole_minutes_tokens_never_gets_in() -> None:
    refused = await LocalLimiter(Clock()).acquire("blue", Limits(None, 100), 101)
    assert refused.retry_after == math.inf
    assert "more than the 100 tokens per minute" in refusal(refused).message
    assert refusal(refused).headers() == {}


async def test_tenants_do_not_share_a_budget() -> None:
    limiter = LocalLimiter(Clock())
    assert [(await limiter.acquire(name, Limits(1, None), 0)).refused_by for name in "aab"] == ["", "requests", ""]


async def test_what_it_used_replaces_the_estimate_and_may_be_a_debt() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    limits = Limits(None, 600)
    grant = await limiter.acquire("blue", limits, 100)
    await limiter.settle(grant, 750)
    clock.now += 10
    refused = await limiter.acquire("blue", limits, 1)
    assert refused.tokens_left == pytest.approx(-150 + 100)
    assert refused.retry_after == pytest.approx(5.1)
    assert refused.headers()["x-ratelimit-remaining-tokens"] == "0"


async def test_an_estimate_of_nothing_is_settled_too() -> None:
    limiter = LocalLimiter(Clock())
    grant = await limiter.acquire("blue", Limits(None, 100), 0)
    await limiter.settle(grant, 40)
    assert (await limiter.acquire("blue", Limits(None, 100), 0)).tokens_left == 60


@pytest.mark.parametrize("estimate", [50, 500])
async def test_settling_twice_or_after_a_refusal_changes_nothing(estimate: int) -> None:
    limiter = LocalLimiter(Clock())
    grant = await limiter.acquire("blue", Limits(None, 100), estimate)
    await limiter.settle(grant, 0)
    await limiter.settle(grant, 70)
    assert (await limiter.acquire("blue", Limits(None, 100), 0)).tokens_left == 100


async def test_a_reload_keeps_what_was_spent() -> None:
    limiter = LocalLimiter(Clock())
    await limiter.acquire("blue", Limits(None, 100), 90)
    assert (await limiter.acquire("blue", Limits(None, 1000), 0)).tokens_left == 10
    assert (await limiter.acquire("blue", Limits(None, 5), 0)).tokens_left == 5


async def test_a_tenant_that_is_gone_is_forgotten() -> None:
    limiter = LocalLimiter(Clock())
    grant = await limiter.acquire("blue", Limits(1, 100), 90)
    limiter.keep(frozenset({"red"}))
    await limiter.settle(grant, 90)
    assert (await limiter.acquire("blue", Limits(1, 100), 0)).tokens_left == 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (-1, "0ms"),
        (0.02, "20ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.999, "59.999s"),
        (60, "1m0s"),
        (361.2, "6m1.2s"),
    ],
)
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


Arrivals = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 40)), min_size=1, max_size=60)


@given(Arrivals, st.integers(1, 100))
async def test_no_window_lets_in_more_than_the_limit_and_what_it_refills(
    arrivals: list[tuple[float, int]], limit: int
) -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    admitted: list[tuple[float, int]] = []
    for gap, tokens in arrivals:
        clock.now += gap
        grant = await limiter.acquire("blue", Limits(None, limit), tokens)
        if not grant.refused_by:
            admitted.append((clock.now, tokens))
    for first, (start, _) in enumerate(admitted):
        total = 0
        for moment, tokens in admitted[first:]:
            total += tokens
            assert total <= limit + (moment - start) * limit / 60 + 1e-4


@given(Arrivals, st.integers(40, 100))
async def test_retry_after_is_exact(arrivals: list[tuple[float, int]], limit: int) -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    for gap, tokens in arrivals:
        clock.now += gap
        grant = await limiter.acquire("blue", Limits(limit, limit), tokens)
        if grant.refused_by:
            clock.now += grant.retry_after * 0.99
            assert (await limiter.acquire("blue", Limits(limit, limit), tokens)).refused_by
            clock.now += grant.retry_after * 0.01
            assert not (await limiter.acquire("blue", Limits(limit, limit), tokens)).refused_by


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 200)), max_size=30), st.floats(0, 60))
async def test_settled_the_bucket_holds_exactly_what_was_not_used(uses: list[tuple[int, int]], wait: float) -> None:
    """The limit is out of reach, so that neither the cap nor a refusal hides a difference."""
    clock = Clock()
    limiter = LocalLimiter(clock)
    limit = 1_000_000
    spend = await limiter.acquire("blue", Limits(None, limit), 500_000)
    grants: list[Grant] = [await limiter.acquire("blue", Limits(None, limit), estimate) for estimate, _ in uses]
    clock.now += min(wait, 20.0)
    for grant, (_, used) in zip(grants, uses, strict=True):
        await limiter.settle(grant, used)
    left = (await limiter.acquire("blue", Limits(None, limit), 0)).tokens_left
    assert spend.open
    expected = limit - 500_000 - sum(used for _, used in uses) + min(wait, 20.0) * limit / 60
    assert left == pytest.approx(expected, abs=1e-3)


@given(st.lists(st.one_of(st.floats(0, 100), st.integers(-50, 50)), max_size=50))
def test_a_bucket_never_holds_more_than_its_limit(steps: list[float | int]) -> None:
    now = 0.0
    bucket = Bucket(60, now)
    for step in steps:
        if isinstance(step, float):
            now += step
            bucket.refill(now)
        else:
            bucket.put_back(step)
        assert bucket.level <= 60
