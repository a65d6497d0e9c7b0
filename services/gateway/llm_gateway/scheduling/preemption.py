"""Preempt and requeue: a request can be pulled back from its engine while its client has received nothing.

Purpose     Serve an urgent request that arrives while less urgent ones, which have not answered yet, hold all slots.
Rule        A victim has a less urgent class and a larger key, was sent less than `within` seconds ago, and was
            preempted fewer than `max_times` times. Among these, the youngest of the least urgent class is chosen. It
            returns to the queue with its key: it loses its work but not its age, and its client sees a longer wait.
Wait bound  It still holds: a larger key gives way to a smaller one. An overdue request has a smaller key than any
            arrival, so it is never a victim. Each preemption adds one request to those that a victim can wait for.
Trade-off   The engine loses up to `within` seconds of work per preemption. This pays off if engines hold requests
before
            their first token: with long prompts, or with more slots than the engine runs at once.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from llm_gateway.engines.routes import Route
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.interrupt import PREEMPTED


class PreemptionSettings(BaseModel):
    """Rules for pulling requests back from engines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(False, description="pull less urgent requests back before their first byte")
    within: float = Field(2.0, gt=0, description="seconds at an engine after which a request is not pulled back")
    max_times: int = Field(2, ge=1, description="most preemptions of one request")


class Preemption:
    """Chooses the victims. `clock` is monotonic, in seconds."""

    def __init__(self, settings: PreemptionSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._unanswered: dict[int, dict[Waiting, float]] = {}
        """By priority: requests at engines without a first byte, and since when. The youngest is last."""

    def granted(self, request: Waiting) -> None:
        """Note that the request got a slot."""
        if self._settings.enabled:
            self._unanswered.setdefault(request.cls.priority, {})[request] = self._clock()

    def answered(self, request: Waiting) -> None:
        """Note that the request has its first byte or has ended. Further calls do nothing."""
        if self._settings.enabled:
            self._unanswered.get(request.cls.priority, {}).pop(request, None)

    def make_room(self, urgent: Waiting, route: Route) -> None:
        """Pull one request back for `urgent`, which waits for `route`. The slot is free a few loop turns later."""
        victim = self._victim(urgent, route) if self._settings.enabled else None
        if victim is not None and victim.interruptible.interrupt(PREEMPTED):
            victim.preempted += 1
            self.answered(victim)

    def _victim(self, urgent: Waiting, route: Route) -> Waiting | None:
        oldest = self._clock() - self._settings.within
        for priority in sorted(self._unanswered, reverse=True):
            if priority <= urgent.cls.priority:
                return None
            for request, since in reversed(self._unanswered[priority].items()):
                if since < oldest:
                    break
                may_go = request.key > urgent.key and request.preempted < self._settings.max_times
                if may_go and _frees(request, route):
                    return request
        return None


def _frees(request: Waiting, route: Route) -> bool:
    """Return whether `request` holds a slot at an engine of the route."""
    return any(request in engine.holders for engine in route)
