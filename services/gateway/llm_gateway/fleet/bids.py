"""The bids of one replica, and how they differ from the copy in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import orjson


@dataclass(slots=True, eq=False)
class Bid:
    """A waiting request, as the fleet sees it."""

    key: float
    """The request's key on the replica's clock. The smallest goes first."""
    member: str
    """Its name in Redis, which states its preferences: JSON of [number, preferred engine, avoided engine, …]."""


class BidBook:
    """All bids of a replica. `live` is the target state of Redis; the next call sends the difference."""

    def __init__(self) -> None:
        self.live: dict[str, Bid] = {}
        self._unknown: dict[str, Bid] = {}
        self._stale: list[str] = []
        self._numbers = count()

    def offer(self, key: float, prefer: str = "", avoid: Sequence[str] = ()) -> Bid:
        """Add a bid. `prefer` and `avoid` are names of engines."""
        number = next(self._numbers)
        member = orjson.dumps([number, prefer, *avoid]).decode() if prefer or avoid else f"[{number}]"
        bid = self.live[member] = self._unknown[member] = Bid(key, member)
        return bid

    def withdraw(self, bid: Bid) -> None:
        """Remove a bid that is served or gone. A bid that Redis does not know yet is never sent."""
        if self.live.pop(bid.member, None) and not self._unknown.pop(bid.member, None):
            self._stale.append(bid.member)

    def granted(self, member: str) -> None:
        """Note that Redis removed this bid with a grant. If another request uses the grant, the bid is sent again."""
        bid = self.live.get(member)
        if bid is not None:
            self._unknown[member] = bid

    def changed(self) -> bool:
        return bool(self._unknown or self._stale)

    def take_news(self) -> tuple[list[Bid], list[str]]:
        """Return the bids to add and the members to drop, and assume from now on that Redis has them."""
        news = list(self._unknown.values()), self._stale
        self._unknown, self._stale = {}, []
        return news

    def take_all(self) -> list[Bid]:
        """Return all live bids, for a Redis that knows none."""
        self._unknown, self._stale = {}, []
        return list(self.live.values())
