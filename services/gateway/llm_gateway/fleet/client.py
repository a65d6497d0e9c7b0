"""The replica's side of the fleet: it reports changes to Redis and hands the grants to the local dispatcher.

    client = FleetClient(settings.fleet, dispatcher, time_weight=aging_rate)
    await client.start()
    bid = client.offer(key)      # a request waits: on a grant the dispatcher serves its best request
    client.withdraw(bid)         # the request is served or gone
    client.changed()             # a permit was released, a limit changed, an engine went up or down

`offer`, `withdraw` and `changed` are synchronous and cheap. One task makes the calls, one at a time. Changes during a
call go into the next one, so calls batch by themselves under load.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from llm_gateway.fleet.bids import Bid, BidBook
from llm_gateway.fleet.clock import FleetClock
from llm_gateway.fleet.link import GONE, Link, connected
from llm_gateway.fleet.messages import Caller, Reply, SessionLost, parse
from llm_gateway.fleet.settings import FleetSettings

RECONNECT_SECONDS = 0.25
CLOCK_SAMPLES = 3

log = logging.getLogger(__name__)


class LocalDispatcher(Protocol):
    """The replica's queue and engines, as the client needs them. No method may raise."""

    def limits(self) -> Mapping[str, int]:
        """Return the engines that could take a request now, given a permit, with the fleet's limit for each."""

    def in_flight(self) -> Mapping[str, int]:
        """Return the number of permits that this replica holds, for every engine that it has or had."""

    def grant(self, engine: str) -> bool:
        """Take a permit of the engine for the best waiting request and withdraw the request's bid.

        Return False if no request can use it now. Then it is not granted again before the next `offer` or `changed`.
        """

    def mode_changed(self) -> None:
        """React to a change of `client.online`. While it is False, grant locally, within `client.share(limit)`."""


class FleetClient:
    """The connection of one replica to its fleet.

    `time_weight` is the growth of a key per second of arrival time: the aging rate for aging, 1 for FCFS and EDF.
    """

    def __init__(
        self,
        settings: FleetSettings,
        dispatcher: LocalDispatcher,
        time_weight: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert settings.redis_url is not None
        self.online = False
        self.replicas = 1
        """Last known number of replicas; 1 before the first contact."""
        self._url = settings.redis_url.get_secret_value()
        self._prefix = f"{{{settings.name}}}:"
        self._settings = settings
        self._dispatcher = dispatcher
        self._time_weight = time_weight
        self._clock = clock
        self._fleet_clock = FleetClock()
        self._book = BidBook()
        self._caller = Caller(settings, uuid.uuid4().hex)
        self._reported_held: dict[str, int] = {}
        self._reported_limits: dict[str, int] = {}
        self._refused: set[str] = set()
        """Engines whose grants were of no use. They are not requested until something has changed."""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._warned = False
        self._stopping = False

    def offer(self, key: float, prefer: str = "", avoid: Sequence[str] = ()) -> Bid:
        """Bid for a slot: at `prefer` if it has room, at an engine of `avoid` only if no other has room."""
        self.changed()
        return self._book.offer(key, prefer, avoid)

    def withdraw(self, bid: Bid) -> None:
        """Withdraw a bid. Further calls do nothing."""
        self._book.withdraw(bid)
        if self._book.changed():
            self._news.set()

    def changed(self) -> None:
        """Note that a permit was released, a limit changed, or an engine went up or down."""
        self._refused.clear()
        self._news.set()

    def share(self, limit: int) -> int:
        """Return the part of a limit that one replica uses while Redis is out of reach."""
        return max(1, limit // self.replicas)

    async def start(self) -> None:
        """Start the task that makes the calls and return at once. `online` becomes True later."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave the fleet, so that the other replicas need not wait for the end of the lease.

        A flag ends the task: Redis's client can swallow a cancellation that coincides with the end of a call.
        """
        self._stopping = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=3 * self._settings.timeout)
            self._task.cancel()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._take_part()
            except SessionLost:
                log.info("the fleet's Redis does not know this gateway; joining again")
            except GONE as error:
                self._went_offline(error)
                await asyncio.sleep(RECONNECT_SECONDS)
            except Exception as error:
                log.exception("a defect of the fleet client; joining again")
                self._went_offline(error)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _take_part(self) -> None:
        settings, replica = self._settings, self._caller.replica
        async with connected(self._url, self._prefix, replica, settings.timeout, on_wake=self._news.set) as link:
            await self._synchronize_clock(link)
            reply = await self._call(link, self._join())
            self._went_online(reply.replicas)
            self._use(reply)
            try:
                while not self._stopping:
                    await self._until_news()
                    self._use(await self._call(link, self._tell()))
                await link.call(self._caller.leave())
            except GONE as error:
                self._went_offline(error)  # at once: closing dead connections can take a while
                raise

    async def _until_news(self) -> None:
        """Wait until something has changed or a heartbeat is due. wait_for would cost more than all the rest here."""
        heartbeat = asyncio.get_running_loop().call_later(self._settings.heartbeat, self._news.set)
        await self._news.wait()
        heartbeat.cancel()
        self._news.clear()

    def _join(self) -> bytes:
        self._reported_held = dict(self._dispatcher.in_flight())
        self._reported_limits = self._usable()
        return self._caller.join(
            self.replicas,
            self._book.take_all(),
            self._slope_offset(),
            self._reported_held,
            limits=self._reported_limits,
        )

    def _tell(self) -> bytes:
        bids, stale = self._book.take_news()
        return self._caller.news(bids, stale, self._slope_offset(), self._held_changes(), limits=self._limit_changes())

    def _held_changes(self) -> dict[str, int]:
        reported, held = self._reported_held, dict(self._dispatcher.in_flight())
        self._reported_held = held
        changes = {engine: held.get(engine, 0) - reported.get(engine, 0) for engine in held.keys() | reported.keys()}
        return {engine: change for engine, change in changes.items() if change}

    def _limit_changes(self) -> dict[str, int] | None:
        limits = self._usable()
        if limits == self._reported_limits:
            return None
        self._reported_limits = limits
        return limits

    def _usable(self) -> dict[str, int]:
        return {engine: limit for engine, limit in self._dispatcher.limits().items() if engine not in self._refused}

    def _slope_offset(self) -> float:
        """Return the difference between a key on fleet time and a local key."""
        return self._time_weight * self._fleet_clock.offset

    async def _call(self, link: Link, payload: bytes) -> Reply:
        sent = self._clock()
        reply = parse(await link.call(payload))
        self._fleet_clock.observe(sent, self._clock(), reply.now)
        return reply

    def _use(self, reply: Reply) -> None:
        """Apply a reply. Redis counts its grants as held; an unused one shows in the next call, which gives it back."""
        self.replicas = reply.replicas
        for engine, member in reply.granted:
            self._reported_held[engine] = self._reported_held.get(engine, 0) + 1
            self._book.granted(member)
            if not self._dispatcher.grant(engine):
                self._refused.add(engine)
                self._news.set()
        if self._book.changed():
            self._news.set()

    async def _synchronize_clock(self, link: Link) -> None:
        self._fleet_clock.forget()
        for _ in range(CLOCK_SAMPLES):
            sent = self._clock()
            stamped = await link.time()
            self._fleet_clock.observe(sent, self._clock(), stamped)

    def _went_online(self, replicas: int) -> None:
        self.replicas = replicas
        if not self.online:
            self.online = True
            self._warned = False
            log.warning("in a fleet of %d: order and limits are shared", self.replicas)
            self._dispatcher.mode_changed()

    def _went_offline(self, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            log.error("the fleet's Redis is unreachable (%s): local order, 1/%d of the limits", error, self.replicas)
        if self.online:
            self.online = False
            self._dispatcher.mode_changed()
