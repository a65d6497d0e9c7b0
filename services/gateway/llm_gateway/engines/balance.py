"""The choice among the engines with room.

least_loaded  Choose the engine with the smallest share of its slots taken; equals take turns.
p2c           Power of two choices (Mitzenmacher 2001): draw two engines at random and take the one with less predicted
              work, which is outstanding predicted tokens over slots. Several gateways need not agree: with
              `least_loaded`, all of them would pick the same engine at once.
session       Send the requests of a session to one engine, by rendezvous hashing: an engine that joins or leaves moves
              only its own sessions. Use p2c for a request without a session.
prefix        Choose the engine that has seen the longest prefix of the prompt; among equals, the one with least work.
              Use p2c if no engine has seen any. This is the default. The load guard keeps the load as even as p2c does,
              and hits in the engines' prefix caches come on top. With one engine or short prompts it is p2c at no cost.

Load guard    Affinity alone creates hotspots. If an engine's share of taken slots is more than AFFINITY_SLACK above
              that of the least loaded engine, p2c chooses instead, and the chosen engine learns the prompt.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Literal, Protocol

from llm_gateway.engines.engine import Engine
from llm_gateway.waiting import Waiting
from llm_proxy.balance import better_of_two, cheapest, longest_match

BalancingName = Literal["least_loaded", "p2c", "session", "prefix"]

AFFINITY_SLACK = 0.5


class Balancer(Protocol):
    """A rule that chooses an engine for a request."""

    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        """Return one of `engines`. There is at least one, and all are up and have room."""


def make_balancer(name: BalancingName, source: random.Random) -> Balancer:
    if name == "least_loaded":
        return LeastLoaded()
    spread = PowerOfTwo(source)
    if name == "session":
        return SessionAffinity(spread)
    return PrefixAffinity(spread) if name == "prefix" else spread


def work(engine: Engine) -> tuple[float, float]:
    """Return predicted tokens per slot, and requests per slot to decide between equals."""
    return engine.budget.used / engine.max_in_flight, engine.load


class LeastLoaded:
    def __init__(self) -> None:
        self._turn = 0

    def choose(self, engines: Sequence[Engine], request: Waiting | None = None) -> Engine:
        self._turn += 1
        return cheapest(engines, lambda engine: engine.load, self._turn)


class PowerOfTwo:
    def __init__(self, source: random.Random) -> None:
        self._draw = source.random

    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        return better_of_two(engines, work, self._draw)


class SessionAffinity:
    def __init__(self, spread: PowerOfTwo) -> None:
        self._spread = spread

    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        if request.session is None or len(engines) == 1:
            return self._spread.choose(engines, request)
        session = zlib.crc32(request.session.encode("utf-8", "surrogatepass"))
        favourite = max(engines, key=lambda engine: mixed(session ^ engine.name_hash))
        return favourite if not overloaded(favourite, engines) else self._spread.choose(engines, request)


class PrefixAffinity:
    def __init__(self, spread: PowerOfTwo) -> None:
        self._spread = spread

    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        if not request.prefix:
            return self._spread.choose(engines, request)
        chosen = longest_match(engines, request.prefix, work)
        if chosen is None or overloaded(chosen, engines):
            chosen = self._spread.choose(engines, request)
        chosen.prefixes.add(request.prefix)
        return chosen


def mixed(number: int) -> int:
    """Mix 64 bits, so that each depends on all of the input: the finaliser of splitmix64 (Steele et al. 2014)."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ (number >> 31)


def overloaded(favourite: Engine, engines: Sequence[Engine]) -> bool:
    """Return whether the load guard forbids the favourite."""
    return favourite.load - min(engine.load for engine in engines) > AFFINITY_SLACK
