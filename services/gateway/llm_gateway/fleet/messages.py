"""The messages between a replica and the script, in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from llm_gateway.fleet.bids import Bid
from llm_gateway.fleet.settings import FleetSettings


@dataclass(frozen=True, slots=True)
class Reply:
    """The script's reply to a call."""

    now: float
    """Redis's clock, seconds."""
    replicas: int
    granted: list[tuple[str, str]]
    """Pairs of engine and bid (its member) that the grants are for."""


class SessionLost(Exception):
    """Redis does not know the session, since it restarted or took this replica for dead. The replica joins again."""


@dataclass(slots=True)
class Caller:
    """Encodes the calls of a replica. `session` grows with every join, `turn` with every call."""

    settings: FleetSettings
    replica: str
    session: int = 0
    turn: int = 0

    def join(
        self,
        replicas: int,
        bids: Iterable[Bid],
        slope_offset: float,
        held: Mapping[str, int],
        *,
        limits: Mapping[str, int],
    ) -> bytes:
        self.session += 1
        return self._call(bids, (), slope_offset, held, limits=limits, join=True, replicas=replicas)

    def news(
        self,
        bids: Iterable[Bid],
        stale: Iterable[str],
        slope_offset: float,
        held: Mapping[str, int],
        *,
        limits: Mapping[str, int] | None,
    ) -> bytes:
        """Return a call with changes. `held` are differences to the last call; `limits` is None if unchanged."""
        return self._call(bids, stale, slope_offset, held, limits=limits)

    def leave(self) -> bytes:
        return self._call((), (), 0.0, {}, limits=None, leave=True)

    def _call(
        self,
        bids: Iterable[Bid],
        stale: Iterable[str],
        slope_offset: float,
        held: Mapping[str, int],
        *,
        limits: Mapping[str, int] | None,
        **more: bool | int,
    ) -> bytes:
        self.turn += 1
        call = {
            "replica": self.replica,
            "session": self.session,
            "turn": self.turn,
            "lease": self.settings.lease,
            "patience": self.settings.patience,
            "add": [(bid.member, repr(bid.key + slope_offset)) for bid in bids],
            "drop": [*stale],
            "held": held,
            **more,
        }
        if limits is not None:
            call["limits"] = limits
        return orjson.dumps(call)


def parse(raw: bytes) -> Reply:
    """Return the reply in `raw`. Raise SessionLost."""
    reply = orjson.loads(raw)
    if "unknown" in reply:
        raise SessionLost
    granted = [(engine, member) for engine, member in reply["granted"]]
    return Reply(float(reply["now"]), reply["replicas"], granted)
