"""One engine: its address, its health, the requests that it holds, and the signals that it reports."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from yarl import URL

from llm_gateway.engines.budget import KvBudget
from llm_gateway.engines.limits import AdaptiveLimit
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.tenancy.keys import authorization
from llm_gateway.waiting import Waiting
from llm_proxy.request.prefix import PrefixIndex
from llm_proxy.upstream.breaker import Breaker, BreakerState
from llm_proxy.upstream.signals import Signals
from llm_proxy.upstream.target import Target
from llm_proxy.upstream.tls import tls_context

ModelCard = dict[str, Any]
"""An entry of /v1/models."""

FAILURES_TO_DOWN = 3
"""Failed probes in a row that mark an engine down."""


class Engine(Target):
    """The state of one engine. Only the pool, its permits and the watchers change it, all in one event loop."""

    __slots__ = (
        *("breaker", "budget", "cards", "ejected", "ejections", "failed_probes"),
        *("holders", "in_flight", "limit", "max_in_flight", "models", "models_read", "name"),
        *("name_hash", "prefixes", "reports_usage", "rests_until", "settings", "sharers", "signals"),
        *("takes_priority", "up"),
    )

    def __init__(
        self, settings: EngineSettings, limit: AdaptiveLimit | None, budget: KvBudget, breaker: Breaker
    ) -> None:
        base = URL(settings.url)
        super().__init__(
            base,
            shown=settings.name,
            tls=tls_context(settings.ca_file) if base.scheme == "https" else None,
            authorization=authorization(settings.api_key),
        )
        self.settings = settings
        self.name = settings.name
        self.name_hash = int.from_bytes(hashlib.blake2b(settings.name.encode(), digest_size=8).digest())
        """A hash for rendezvous hashing, equal in every process."""
        self.takes_priority = settings.takes_priority
        self.reports_usage = True
        """False once it has refused a stream for `stream_options.include_usage`."""
        self.up = False
        self.reason = "not probed yet"
        self.failed_probes = 0
        """Failed probes in a row."""
        self._init_models()
        self._init_load(limit, budget, breaker)
        self._init_signals()

    def _init_models(self) -> None:
        settings = self.settings
        self.models: frozenset[str] | None = frozenset(settings.models) or None
        """Names of the models it serves; None while they are unknown."""
        self.cards: dict[str, ModelCard] = {name: model_card(name) for name in settings.models}
        """The entries of /v1/models."""
        self.models_read = -math.inf
        """Time when the models were last read; monotonic, seconds."""

    def _init_load(self, limit: AdaptiveLimit | None, budget: KvBudget, breaker: Breaker) -> None:
        settings = self.settings
        self.max_in_flight = settings.max_in_flight
        """The current limit."""
        self.sharers = 1
        """Number of gateways that divide the limit among them because they cannot reach each other."""
        self.rests_until: float | None = None
        """Time before which it gets no request, since it reported overload; monotonic, seconds."""
        self.limit = limit
        """The controller that sets `max_in_flight`; None if the limit is fixed."""
        self.in_flight = 0
        """Number of permits held."""
        self.holders: set[Waiting] = set()
        """The requests that hold the permits."""
        self.budget = budget
        self.breaker = breaker
        self.prefixes = PrefixIndex()
        self.prefixes.set_kv_tokens(settings.kv_tokens or 0)

    def _init_signals(self) -> None:
        self.signals: Signals | None = None
        """The last scrape; None if it failed, as stale signals are not used."""
        self.ejected = False
        """It was taken out for making no progress. A good /health alone does not bring it back."""
        self.ejections = 0

    @property
    def share(self) -> int:
        """Slots that this gateway can use."""
        return self.max_in_flight if self.sharers == 1 else max(1, self.max_in_flight // self.sharers)

    @property
    def load(self) -> float:
        return self.in_flight / self.max_in_flight

    @property
    def available(self) -> bool:
        """Whether it takes requests, now or when a slot becomes free."""
        return self.up and self.breaker.state is not BreakerState.OPEN

    def accepts(self, cost: int) -> bool:
        """Return whether a request of `cost` tokens can be sent to it now."""
        able = self.up and self.rests_until is None and self.in_flight < self.share
        return able and self.budget.fits(cost) and self.breaker.allows()

    def why_unavailable(self) -> str:
        return self.reason if not self.up else "circuit breaker open after failures"

    def observe(self, signals: Signals) -> None:
        """Update progress, KV capacity and the in-flight limit from a scrape."""
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
        """Drop the signals after a failed scrape. The KV capacity stays, as it does not change."""
        self.signals = None
        if self.limit is not None:
            self.max_in_flight = self.limit.reset()


def model_card(name: str) -> ModelCard:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llm-gateway"}
