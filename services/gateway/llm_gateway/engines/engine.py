"""One back end: where it is, whether it is up, what it holds of ours, and what it says about itself."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from yarl import URL

from llm_gateway.engines.breaker import Breaker, BreakerState
from llm_gateway.engines.budget import KvBudget
from llm_gateway.engines.limits import AdaptiveLimit
from llm_gateway.engines.prefix import PrefixIndex
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.engines.signals import Signals
from llm_gateway.engines.tls import tls_context
from llm_gateway.tenancy.keys import authorization
from llm_gateway.waiting import Waiting

ModelCard = dict[str, Any]
"""An entry of /v1/models."""

FAILURES_TO_DOWN = 3
"""Probes in a row."""


class Engine:
    """Only the pool, its permits and the watchers of engines change it; all in one event loop."""

    __slots__ = (
        *("_urls", "authorization", "base", "breaker", "budget", "cards", "ejected", "ejections", "failed_probes"),
        *("holders", "in_flight", "last_progress", "limit", "max_in_flight", "models", "models_read", "name"),
        *("name_hash", "prefixes", "reason", "reports_usage", "rests_until", "settings", "sharers", "shown", "signals"),
        *("streams", "takes_priority", "tls", "up"),
    )

    def __init__(
        self, settings: EngineSettings, limit: AdaptiveLimit | None, budget: KvBudget, breaker: Breaker
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.shown = settings.name
        """Name that clients see."""
        self.name_hash = int.from_bytes(hashlib.blake2b(settings.name.encode(), digest_size=8).digest())
        """The same in every process, for rendezvous hashing."""
        self.base = URL(settings.url)
        self.tls = tls_context(settings.ca_file) if self.base.scheme == "https" else None
        self._urls: dict[str, URL] = {}
        self.takes_priority = settings.takes_priority
        self.reports_usage = True
        """Until it refuses a stream for `stream_options.include_usage`."""
        self.authorization = authorization(settings.api_key)
        self.up = False
        self.reason = "not probed yet"
        """Why it is down, for the client and the log."""
        self.failed_probes = 0
        """In a row."""
        self._init_models()
        self._init_load(limit, budget, breaker)
        self._init_signals()

    def _init_models(self) -> None:
        settings = self.settings
        self.models: frozenset[str] | None = frozenset(settings.models) or None
        """Names of the models it serves; None while that is not known."""
        self.cards: dict[str, ModelCard] = {name: model_card(name) for name in settings.models}
        """The entries of /v1/models."""
        self.models_read = -math.inf
        """When it was asked last; monotonic, seconds."""

    def _init_load(self, limit: AdaptiveLimit | None, budget: KvBudget, breaker: Breaker) -> None:
        settings = self.settings
        self.max_in_flight = settings.max_in_flight
        """Its limit at present."""
        self.sharers = 1
        """Replicas of the gateway that have to make do with that limit without asking each other."""
        self.rests_until: float | None = None
        """It said that it is overloaded, and for how long; monotonic, seconds. It gets no request before."""
        self.limit = limit
        """The controller of `max_in_flight`; None if the limit is fixed."""
        self.in_flight = 0
        """Permits out."""
        self.holders: set[Waiting] = set()
        """The requests that have them."""
        self.budget = budget
        self.breaker = breaker
        self.prefixes = PrefixIndex()
        self.prefixes.set_kv_tokens(settings.kv_tokens or 0)

    def _init_signals(self) -> None:
        self.signals: Signals | None = None
        """The last scrape; None if it failed: what is stale is not used."""
        self.streams = 0
        """Answers being streamed to us."""
        self.last_progress = 0.0
        """When it last produced something, or got its first request after none; monotonic, seconds."""
        self.ejected = False
        """It made no progress; /health alone does not bring it back."""
        self.ejections = 0

    def url(self, path: str) -> URL:
        """Kept, as there are few paths and joining costs more than a look-up."""
        found = self._urls.get(path)
        if found is None:
            found = self._urls[path] = self.base.joinpath(path.lstrip("/"), encoded=True)
        return found

    @property
    def share(self) -> int:
        """The slots that are ours."""
        return self.max_in_flight if self.sharers == 1 else max(1, self.max_in_flight // self.sharers)

    @property
    def load(self) -> float:
        return self.in_flight / self.max_in_flight

    @property
    def available(self) -> bool:
        """It takes requests, now or once a slot is free."""
        return self.up and self.breaker.state is not BreakerState.OPEN

    def accepts(self, cost: int) -> bool:
        """Return whether a request of that many tokens can be sent to it now."""
        able = self.up and self.rests_until is None and self.in_flight < self.share
        return able and self.budget.fits(cost) and self.breaker.allows()

    def progressed(self, now: float) -> None:
        """Bytes of an answer arrived. On the path of every chunk."""
        self.last_progress = now

    def why_unavailable(self) -> str:
        return self.reason if not self.up else "circuit breaker open after failures"

    def observe(self, signals: Signals) -> None:
        """Takes in a scrape: progress, KV capacity, the in-flight limit."""
        before, self.signals = self.signals, signals
        if before is not None and signals.moved(before):
            self.progressed(signals.time)
        if signals.kv_tokens and not self.settings.kv_tokens:
            self.budget.set_kv_tokens(signals.kv_tokens)
            self.prefixes.set_kv_tokens(signals.kv_tokens)
        if self.limit is not None:
            slowness = signals.ttft_per_prompt_token(before)
            self.max_in_flight = self.limit.observe(signals, slowness, self.in_flight)

    def lost_signals(self) -> None:
        """Drop the signals; the KV capacity, which does not change, stays."""
        self.signals = None
        if self.limit is not None:
            self.max_in_flight = self.limit.reset()


def model_card(name: str) -> ModelCard:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llm-gateway"}
