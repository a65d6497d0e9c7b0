"""Preempt and requeue: a request can be withdrawn from its engine while the client has received nothing.

Purpose     a more urgent request arrives while every slot is taken by less urgent ones that have not answered yet.
Rule        The victim is of a less urgent class, has a larger key, went to its engine less than `within` seconds ago,
            and was not preempted `max_times` before; of those, the least urgent class's youngest. It goes back to the
            queue with its key, so it has lost its work and none of its age; its client sees a longer wait.
Wait bound  kept: who has a larger key gives way to who has a smaller one. A request that is overdue has a smaller key
            than whoever arrives, so it is never a victim. Each preemption adds one to what a victim may wait for.
Trade-off   the engine has worked for nothing, for up to `within` seconds per preemption. Worth it where engines hold
            requests before their first token: long prompts, or slots for more than an engine runs at once.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from llm_gateway.engines.routes import Route
from llm_gateway.interrupt import PREEMPTED
from llm_gateway.waiting import Waiting


class PreemptionSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(False, description="pull back less urgent requests that have not answered")
    within: float = Field(2.0, gt=0, description="seconds at its engine after which a request is left there")
    max_times: int = Field(2, ge=1, description="per request")


class Preemption:
    def __init__(self, settings: PreemptionSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._unanswered: dict[int, dict[Waiting, float]] = {}
        """By priority: who is at an engine and has not answered, and since when; the youngest is last."""

    def granted(self, request: Waiting) -> None:
        if self._settings.enabled:
            self._unanswered.setdefault(request.cls.priority, {})[request] = self._clock()

    def answered(self, request: Waiting) -> None:
        """Note that its first byte has come or that it has ended; can be called again."""
        if self._settings.enabled:
            self._unanswered.get(request.cls.priority, {}).pop(request, None)

    def make_room(self, urgent: Waiting, route: Route) -> None:
        """Pull one request back for `urgent`, which waits for `route`; the slot is free some loop turns later."""
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
    """Return whether the slot that `request` has is one of the route's."""
    return any(request in engine.holders for engine in route)
