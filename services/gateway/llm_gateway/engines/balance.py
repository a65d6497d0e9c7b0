"""Which of the engines with room gets a request.

least_loaded  smallest share of its slots taken; equals take turns.
p2c           power of two choices (Mitzenmacher 2001): of two engines at random, the one with less predicted work,
              which is the outstanding predicted tokens over the slots. Needs no agreement between several gateways,
              where "the least loaded" by each one's own count would be the same engine for all of them at once.
session       requests of one session to one engine, by rendezvous hashing: an engine that comes or goes moves its own
              sessions only. Without a session: p2c.
prefix        the engine that has seen most of the prompt's beginning; among equals the one with least work. Without a
              match: p2c. The default: it loses nothing of p2c's even load, as the guard holds it to that, and wins the
              engines' cached prompts on top; with one engine, or short prompts, it is p2c and costs nothing.

Load guard    affinity alone makes hotspots. An engine whose share of slots taken is more than AFFINITY_SLACK above the
              least loaded one's is passed over for p2c; the engine that steps in learns the prompt.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Literal, Protocol

from llm_gateway.engines.engine import Engine
from llm_gateway.waiting import Waiting

BalancingName = Literal["least_loaded", "p2c", "session", "prefix"]

AFFINITY_SLACK = 0.5


class Balancer(Protocol):
    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        """One of `engines`: at least one, all of them up and with room."""


def make_balancer(name: BalancingName, source: random.Random) -> Balancer:
    if name == "least_loaded":
        return LeastLoaded()
    spread = PowerOfTwo(source)
    if name == "session":
        return SessionAffinity(spread)
    return PrefixAffinity(spread) if name == "prefix" else spread


def work(engine: Engine) -> tuple[float, float]:
    """Predicted tokens per slot; requests per slot decides where no tokens were predicted."""
    return engine.budget.used / engine.max_in_flight, engine.load


class LeastLoaded:
    def __init__(self) -> None:
        self._turn = 0

    def choose(self, engines: Sequence[Engine], request: Waiting | None = None) -> Engine:
        self._turn += 1
        start = self._turn % len(engines)
        return min((*engines[start:], *engines[:start]), key=lambda engine: engine.load)


class PowerOfTwo:
    def __init__(self, source: random.Random) -> None:
        self._random = source.random

    def choose(self, engines: Sequence[Engine], request: Waiting) -> Engine:
        count = len(engines)
        if count == 1:
            return engines[0]
        first = int(self._random() * count)
        second = (first + 1 + int(self._random() * (count - 1))) % count
        one, other = engines[first], engines[second]
        return one if work(one) <= work(other) else other


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
        chosen = self._favourite(engines, request.prefix)
        if chosen is None or overloaded(chosen, engines):
            chosen = self._spread.choose(engines, request)
        chosen.prefixes.add(request.prefix)
        return chosen

    def _favourite(self, engines: Sequence[Engine], prefix: tuple[int, ...]) -> Engine | None:
        best, favourite = 0, None
        for engine in engines:
            match = engine.prefixes.match(prefix)
            if match > best or (match and match == best and favourite and work(engine) < work(favourite)):
                best, favourite = match, engine
        return favourite


def mixed(number: int) -> int:
    """The finaliser of splitmix64 (Steele et al. 2014): 64 bits, each of which depends on every bit of the input."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ (number >> 31)


def overloaded(favourite: Engine, engines: Sequence[Engine]) -> bool:
    return favourite.load - min(engine.load for engine in engines) > AFFINITY_SLACK
