"""The replica's side of the fleet: tells Redis what changed, and hands the grants that come back to the scheduler.

    gate = FleetClient(settings.fleet, scheduler, time_weight=aging_rate)
    await gate.start()
    bid = gate.offer(key)      # a request waits: on grant the scheduler serves its best one
    gate.withdraw(bid)         # it is served or gone
    gate.changed()             # a permit came back, a limit changed, an engine went up or down

All of these are synchronous and cheap; one task makes the calls, one at a time, and whatever changes during a call goes
into the next one. That batches by itself: the more there is to say, the more one call says.
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
    """The replica's queue and engines as the gate needs them. Nothing here may raise."""

    def limits(self) -> Mapping[str, int]:
        """Each engine that a request could be sent to now, were a permit there, and the fleet's limit of permits."""

    def in_flight(self) -> Mapping[str, int]:
        """The permits this replica holds, for every engine it has or had."""

    def grant(self, engine: str) -> bool:
        """Takes a permit of the engine for the best request that waits, and withdraws its bid.

        False if nobody can use it now; it is not granted again before the next `offer` or `changed`.
        """

    def mode_changed(self) -> None:
        """`gate.online` changed. While it is False the scheduler grants by itself, within `gate.share(limit)`."""


class FleetClient:
    """`time_weight`: how much a key grows per second of arrival time; aging rate for aging, 1 for FCFS and EDF."""

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
        """As last known; 1 before the first contact."""
        self._url = settings.redis_url.get_secret_value()
        self._prefix = f"{{{settings.name}}}:"
        self._settings = settings
        self._dispatcher = dispatcher
        self._time_weight = time_weight
        self._clock = clock
        self._fleet_clock = FleetClock()
        self._book = BidBook()
        self._caller = Caller(settings, uuid.uuid4().hex)
        self._told_held: dict[str, int] = {}
        self._told_limits: dict[str, int] = {}
        self._refused: set[str] = set()
        """Engines that were granted for nothing; they are not asked for until something has changed."""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._warned = False
        self._stopping = False

    def offer(self, key: float, prefer: str = "", avoid: Sequence[str] = ()) -> Bid:
        """`prefer` is taken if it has room, one of `avoid` only if no other has."""
        self.changed()
        return self._book.offer(key, prefer, avoid)

    def withdraw(self, bid: Bid) -> None:
        """Can be called again."""
        self._book.withdraw(bid)
        if self._book.changed():
            self._news.set()

    def changed(self) -> None:
        """A permit came back, a limit moved, an engine went up or down."""
        self._refused.clear()
        self._news.set()

    def share(self, limit: int) -> int:
        """Return the part of a fleet's limit that one replica uses when it cannot ask."""
        return max(1, limit // self.replicas)

    async def start(self) -> None:
        """Returns at once; `online` follows."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leaves the fleet, so that nobody has to wait for the lease's end.

        Told, not cancelled: Redis's client may swallow a cancellation that meets the end of a call.
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
                log.exception("a defect of the fleet's gate; joining again")
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
                self._went_offline(error)  # at once: closing dead connections may take a while
                raise

    async def _until_news(self) -> None:
        """Something changed, or a heartbeat is due. Not wait_for, whose task costs more than the rest of this."""
        heartbeat = asyncio.get_running_loop().call_later(self._settings.heartbeat, self._news.set)
        await self._news.wait()
        heartbeat.cancel()
        self._news.clear()

    def _join(self) -> bytes:
        self._told_held = dict(self._dispatcher.in_flight())
        self._told_limits = self._usable()
        return self._caller.join(
            self.replicas, self._book.take_all(), self._slope_offset(), self._told_held, limits=self._told_limits
        )

    def _tell(self) -> bytes:
        bids, stale = self._book.take_news()
        return self._caller.news(bids, stale, self._slope_offset(), self._held_changes(), limits=self._limit_changes())

    def _held_changes(self) -> dict[str, int]:
        told, held = self._told_held, dict(self._dispatcher.in_flight())
        self._told_held = held
        changes = {engine: held.get(engine, 0) - told.get(engine, 0) for engine in held.keys() | told.keys()}
        return {engine: change for engine, change in changes.items() if change}

    def _limit_changes(self) -> dict[str, int] | None:
        limits = self._usable()
        if limits == self._told_limits:
            return None
        self._told_limits = limits
        return limits

    def _usable(self) -> dict[str, int]:
        return {engine: limit for engine, limit in self._dispatcher.limits().items() if engine not in self._refused}

    def _slope_offset(self) -> float:
        """Return the difference between a local key and one on fleet time."""
        return self._time_weight * self._fleet_clock.offset

    async def _call(self, link: Link, payload: bytes) -> Reply:
        sent = self._clock()
        reply = parse(await link.call(payload))
        self._fleet_clock.observe(sent, self._clock(), reply.now)
        return reply

    def _use(self, reply: Reply) -> None:
        """Redis counts a grant as held; one that is not used shows as a change, which gives it back."""
        self.replicas = reply.replicas
        for engine, member in reply.granted:
            self._told_held[engine] = self._told_held.get(engine, 0) + 1
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
            log.error("the fleet's Redis is gone (%s): local order, 1/%d of the limits", error, self.replicas)
        if self.online:
            self.online = False
            self._dispatcher.mode_changed()
