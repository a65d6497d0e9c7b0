"""Replicas of the gateway with one Redis: one order, one set of limits, and no loss when a replica dies.

Queues, engine slots and redis-server are real; only HTTP is left out. Replicas share this process and its clock, except
those that are killed or frozen.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.engines import Permit
from llm_gateway.fleet.testing import AGING_RATE, POLL_SECONDS, Arrival, RedisServer, Replica, until
from llm_gateway.waiting import Waiting

INTERACTIVE, STANDARD, BATCH = DEFAULT_CLASSES
CLOCK_ERROR = 0.05
"""Seconds by which two replicas' fleet times may differ here: half of the longest round trip on a busy machine."""


@asynccontextmanager
async def fleet(
    redis: RedisServer, count: int, engines: dict[str, int], **settings: object
) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(Replica(redis.url, engines, time.monotonic, **settings))
            for _ in range(count)
        ]
        await until(lambda: all(one.client.online for one in replicas))
        yield replicas


def granted(request: Arrival) -> bool:
    return request.granted.done()


def permit(request: Arrival) -> Permit:
    return request.granted.result()


def running(replicas: list[Replica], engine: str = "e0") -> int:
    return sum(one.in_flight()[engine] for one in replicas)


async def used(redis: RedisServer) -> dict[str, int]:
    """Return the permits that Redis counts for each engine that has any."""
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        found = await client.hgetall("{llm-gateway}:used")
    return {str(engine): int(count) for engine, count in found.items() if int(count)}


async def until_known(redis: RedisServer, waiting: int) -> None:
    """Wait until Redis knows exactly that many waiting requests: it cannot order a request that it does not know."""
    async with asyncio.timeout(30), Redis.from_url(redis.url) as client:
        while await bids(client) != waiting:  # noqa: ASYNC110 - Redis has no event for it
            await asyncio.sleep(POLL_SECONDS)


async def bids(client: Redis) -> int:
    return sum([await client.zcard(key) for key in await client.keys("{llm-gateway}:bids:*")])


async def until_used(redis: RedisServer, permits: dict[str, int]) -> None:
    async with asyncio.timeout(30):
        while await used(redis) != permits:  # noqa: ASYNC110 - Redis has no event for it
            await asyncio.sleep(POLL_SECONDS)


async def until_nothing_is_used(redis: RedisServer) -> None:
    await until_used(redis, {})


# --- order and limits ----------------------------------------------------------------------------------------------


async def test_the_best_request_of_all_replicas_goes_next(redis: RedisServer) -> None:
    async with fleet(redis, 2, {"e0": 1}) as (one, other):
        first = one.arrive(BATCH)
        await until(lambda: bool(one.started))
        batch, interactive, standard = one.arrive(BATCH), other.arrive(INTERACTIVE), one.arrive(STANDARD)
        last, order = first, list[Waiting]()
        for known in (3, 2, 1):
            await until_known(redis, known)
            assert running([one, other]) == 1
            permit(last).release()
            waiting = [each for each in (batch, interactive, standard) if each not in order]
            await until(lambda waiting=waiting: any(map(granted, waiting)))  # type: ignore[misc]
            order += [last := each for each in waiting if granted(each)]
        assert order == [interactive, standard, batch]
        permit(last).release()
        await until_nothing_is_used(redis)


async def test_the_least_loaded_engine_is_used_unless_the_bid_wishes_otherwise(redis: RedisServer) -> None:
    async with fleet(redis, 1, {"e0": 4, "e1": 4}) as (one,):
        requests = [one.arrive(BATCH, prefer="e0") for _ in range(3)]
        await until(lambda: len(one.started) == 3)
        assert one.in_flight() == {"e0": 3, "e1": 0}
        requests += [one.arrive(BATCH), one.arrive(BATCH, avoid=["e1"])]
        await until(lambda: len(one.started) == 5)
        assert one.in_flight() == {"e0": 4, "e1": 1}
        requests.append(one.arrive(BATCH, avoid=["e1"]))
        await until(lambda: len(one.started) == 6)
        assert one.in_flight() == {"e0": 4, "e1": 2}


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "arrive", "arrive", "finish", "finish", "cancel"]),
        st.integers(0, 50),
        st.integers(0, 2),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_three_replicas_serve_as_one_queue_would(redis: RedisServer, steps: list[Step]) -> None:
    """After each step, no slot is free while a request waits, and each started request was the best of all waiting."""
    async with fleet(redis, 3, {"e0": 2, "e1": 1}) as replicas:
        waiting: list[tuple[Waiting, Replica]] = []
        held: list[Waiting] = []
        for kind, number, which in steps:
            if kind == "arrive":
                waiting.append((replicas[which].arrive(DEFAULT_CLASSES[number % 3]), replicas[which]))
            elif kind == "finish" and held:
                permit(held.pop(number % len(held))).release()
            elif kind == "cancel" and waiting:
                request, replica = waiting.pop(number % len(waiting))
                replica.cancel(request)
            total = min(3, len(held) + len(waiting))
            await until(lambda total=total: running(replicas) + running(replicas, "e1") == total)  # type: ignore[misc]
            started = [request for request, _ in waiting if granted(request)]
            waiting = [(request, replica) for request, replica in waiting if not granted(request)]
            held += started
            await until_known(redis, len(waiting))
            best = min((request.key for request, _ in waiting), default=float("inf"))
            assert all(request.key <= best + AGING_RATE * CLOCK_ERROR for request in started)
            assert running(replicas) <= 2
        for request in held:
            permit(request).release()
        for request, replica in waiting:
            replica.cancel(request)
        await until_nothing_is_used(redis)


class Watched(Replica):
    """A replica that checks the limits at every grant and ends each request after a random time."""

    fleet: list[Watched]
    over = 0
    finished = 0

    def grant(self, engine: str) -> bool:
        granted = super().grant(engine)
        if granted:
            taken = running([*self.fleet], engine)
            self.over = max(self.over, taken - self.limits()[engine])
            asyncio.get_running_loop().call_later(random.random() * 0.004, self._finish, self.started[-1])
        return granted

    def _finish(self, request: Waiting) -> None:
        self.finished += 1
        permit(request).release()


@asynccontextmanager
async def watched(redis: RedisServer, count: int, engines: dict[str, int]) -> AsyncIterator[list[Watched]]:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Watched(redis.url, engines)) for _ in range(count)]
        for one in replicas:
            one.fleet = replicas
        await until(lambda: all(one.client.online for one in replicas))
        yield replicas


async def test_under_load_no_limit_is_exceeded_and_every_request_is_served_once(redis: RedisServer) -> None:
    random.seed(5)
    async with watched(redis, 3, {"e0": 3, "e1": 2}) as replicas:
        arrived, cancelled = 0, 0
        for _ in range(600):
            replica = random.choice(replicas)
            request = replica.arrive(random.choice(DEFAULT_CLASSES))
            if random.random() < 0.2:
                asyncio.get_running_loop().call_later(random.random() * 0.01, replica.cancel, request)
            arrived += 1
            await asyncio.sleep(random.random() * 0.001)
        await until(lambda: not any(len(one.queue) + running([one]) + running([one], "e1") for one in replicas))
        started = [request for one in replicas for request in one.started]
        cancelled = arrived - len(started)
        assert len(set(started)) == len(started)
        assert cancelled < 0.2 * arrived
        assert max(one.over for one in replicas) == 0
        assert all(not one.bids for one in replicas)
        await until_nothing_is_used(redis)


async def test_a_grant_that_nobody_needs_any_more_goes_to_the_next(redis: RedisServer) -> None:
    async with fleet(redis, 2, {"e0": 1}) as (one, other):
        first = one.arrive(BATCH)
        await until(lambda: bool(one.started))
        gone, second = other.arrive(INTERACTIVE), one.arrive(BATCH)
        await until_known(redis, 2)
        permit(first).release()
        other.cancel(gone)
        await until(lambda: granted(second))
        assert other.started == []
        permit(second).release()
        await until_nothing_is_used(redis)


# --- replicas that leave, die or hang ------------------------------------------------------------------------------

STRANGER = """
import asyncio, sys
from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.fleet.testing import Replica, until

async def main():
    url, lease, requests, slots = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    async with Replica(url, {"e0": slots}, lease=lease) as replica:
        await until(lambda: replica.client.online)
        waiting = [replica.arrive(DEFAULT_CLASSES[0]) for _ in range(requests)]
        print("ready", flush=True)
        for request in waiting:
            await request.granted
            print("granted", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
"""Another process: it takes that many permits, reports when it has them, and never releases one."""


@asynccontextmanager
async def stranger(
    redis: RedisServer, lease: float, requests: int, slots: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", STRANGER, redis.url, str(lease), str(requests), str(slots)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    try:
        await says(process, "ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def says(process: asyncio.subprocess.Process, what: str) -> None:
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip() == what


async def test_a_killed_replicas_permits_come_back_when_its_lease_ends(redis: RedisServer) -> None:
    lease = 0.6
    async with fleet(redis, 1, {"e0": 2}, lease=lease) as (one,), stranger(redis, lease, 2, slots=2) as process:
        await says(process, "granted")
        await says(process, "granted")
        requests = [one.arrive(BATCH), one.arrive(BATCH)]
        await until_known(redis, 2)
        assert not one.started
        process.kill()
        killed = time.monotonic()
        await until(lambda: len(one.started) == 2)
        assert 0.5 * lease < time.monotonic() - killed < lease * 4 / 3 + 0.5
        for request in requests:
            permit(request).release()
        await until_nothing_is_used(redis)


async def test_a_frozen_replica_is_passed_over_and_takes_part_again_when_it_thaws(redis: RedisServer) -> None:
    async with fleet(redis, 1, {"e0": 1}) as (one,):
        first = one.arrive(BATCH)
        await until(lambda: bool(one.started))
        async with stranger(redis, 3.0, 1, slots=1) as process:
            await until_known(redis, 1)
            process.send_signal(signal.SIGSTOP)
            second = one.arrive(BATCH)
            await until_known(redis, 2)
            permit(first).release()
            frozen = time.monotonic()
            await until(lambda: granted(second))
            assert 0.05 < time.monotonic() - frozen < 1.5, "patience, and the next heartbeat"
            process.send_signal(signal.SIGCONT)
            await until_known(redis, 1)
            permit(second).release()
            await says(process, "granted")


async def test_a_replica_that_stops_leaves_at_once(redis: RedisServer) -> None:
    async with fleet(redis, 1, {"e0": 1}, lease=60.0) as (one,):
        async with fleet(redis, 1, {"e0": 1}, lease=60.0) as (other,):
            other.arrive(INTERACTIVE)
            await until(lambda: bool(other.started))
            request = one.arrive(BATCH)
            await until_known(redis, 1)
            assert not one.started
        await until(lambda: granted(request))
        await until(lambda: one.client.replicas == 1)


# --- Redis that dies or hangs --------------------------------------------------------------------------------------


async def test_redis_killed_and_back_under_load_fails_and_doubles_nothing(redis: RedisServer) -> None:
    random.seed(7)
    async with watched(redis, 3, {"e0": 6}) as replicas:
        arrived, deaths = 0, []
        for second in range(3):
            for _ in range(150):
                random.choice(replicas).arrive(random.choice(DEFAULT_CLASSES))
                arrived += 1
                await asyncio.sleep(random.random() * 0.001)
            if second == 0:
                await redis.kill()
                deaths.append(time.monotonic())
            elif second == 1:
                assert not any(one.client.online for one in replicas)
                assert [one.client.share(6) for one in replicas] == [2, 2, 2]
                await redis.start()
        await until(lambda: sum(one.finished for one in replicas) == arrived)
        await until(lambda: all(one.client.online and one.client.replicas == 3 for one in replicas))
        started = [request for one in replicas for request in one.started]
        assert len(set(started)) == len(started) == arrived
        assert max(one.over for one in replicas) <= 4, "held above its share when the outage began: limit less a share"
        assert all(not one.bids for one in replicas)
        await until_nothing_is_used(redis)


async def test_without_redis_from_the_start_a_gateway_serves_alone() -> None:
    server = RedisServer()
    async with Replica(server.url, {"e0": 2}) as one:
        requests = [one.arrive(BATCH) for _ in range(3)]
        assert one.in_flight() == {"e0": 2}
        async with server:
            await until(lambda: one.client.online)
            assert one.in_flight() == {"e0": 2}
            permit(requests[0]).release()
            await until(lambda: granted(requests[2]))
            assert await used(server) == {"e0": 2}


async def test_a_redis_that_hangs_counts_as_gone_until_it_answers(redis: RedisServer) -> None:
    async with fleet(redis, 2, {"e0": 2}, lease=0.6, timeout=0.1) as (one, other):
        held = [one.arrive(BATCH), one.arrive(BATCH)]
        await until(lambda: len(one.started) == 2)
        assert redis.process is not None
        redis.process.send_signal(signal.SIGSTOP)
        request = other.arrive(BATCH)
        await until(lambda: granted(request))
        assert other.in_flight() == {"e0": 1}
        redis.process.send_signal(signal.SIGCONT)
        await until(lambda: one.client.online and other.client.online)
        await until(lambda: one.client.replicas == other.client.replicas == 2)
        assert await used(redis) == {"e0": 3}
        late = other.arrive(INTERACTIVE)
        permit(held[0]).release()
        await until_used(redis, {"e0": 2})
        assert not granted(late), "two of two are still taken"
        permit(held[1]).release()
        await until(lambda: granted(late))


async def test_a_fleet_that_starts_anew_keeps_to_shares_until_all_had_time_to_join(redis: RedisServer) -> None:
    replica = Replica(redis.url, {"e0": 4}, lease=0.5)
    replica.client.replicas = 2
    async with replica:
        await until(lambda: replica.client.online)
        for _ in range(4):
            replica.arrive(BATCH)
        await until(lambda: len(replica.started) == 2)
        await until_known(redis, 2)
        assert len(replica.started) == 2
        await until(lambda: len(replica.started) == 4)
