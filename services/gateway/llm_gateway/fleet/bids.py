"""The bids of one replica, and which of them Redis does not know yet or knows still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import orjson


@dataclass(slots=True, eq=False)
class Bid:
    """A request that waits, as the fleet sees it."""

    key: float
    """On the replica's clock; the smallest goes first."""
    member: str
    """Its name in Redis, which tells the script its wishes: JSON of [number, preferred engine, avoided engine, …]."""


class BidBook:
    """`live` is what should be in Redis; the difference to what is there goes into the next call."""

    def __init__(self) -> None:
        self.live: dict[str, Bid] = {}
        self._unknown: dict[str, Bid] = {}
        self._stale: list[str] = []
        self._numbers = count()

    def offer(self, key: float, prefer: str = "", avoid: Sequence[str] = ()) -> Bid:
        number = next(self._numbers)
        member = orjson.dumps([number, prefer, *avoid]).decode() if prefer or avoid else f"[{number}]"
        bid = self.live[member] = self._unknown[member] = Bid(key, member)
        return bid

    def withdraw(self, bid: Bid) -> None:
        """Served or gone; a bid that Redis never heard of is simply forgotten."""
        if self.live.pop(bid.member, None) and not self._unknown.pop(bid.member, None):
            self._stale.append(bid.member)

    def granted(self, member: str) -> None:
        """Redis took this bid out. If another request is served in its place it stays live, and is sent again."""
        bid = self.live.get(member)
        if bid is not None:
            self._unknown[member] = bid

    def changed(self) -> bool:
        return bool(self._unknown or self._stale)

    def take_news(self) -> tuple[list[Bid], list[str]]:
        """Bids to add and members to drop; from now on Redis is taken to know."""
        news = list(self._unknown.values()), self._stale
        self._unknown, self._stale = {}, []
        return news

    def take_all(self) -> list[Bid]:
        """Everything, for a Redis that knows nothing."""
        self._unknown, self._stale = {}, []
        return list(self.live.values())
