"""The promise about waiting: how long a request of each class waits at most, and whether it was ever broken.

    bound = (D - t) + N / service rate      D - t: see the policy's page; N: the queue's bound

The bound in seconds moves with the service rate. What the policy itself promises does not, and is checked exactly at
every grant: no request gets a slot that one with a smaller key, past its D, could have had. Where all engines serve the
same models these are all slots. Where they do not, a request waits for the slots of its route: N is the bound of its
group and of those that share an engine with it, and the rate is that of the route with the fewest slots. The policy's
proof holds for each route by itself: the lanes that are passed over have no engine in common with the slot.

As D never decreases with the key, it is enough to look at the oldest request of each lane. The count of violations
stays 0 unless the scheduler is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from llm_gateway.classes import PriorityClass
from llm_gateway.engines import Engine
from llm_gateway.engines.service_rate import ServiceRate
from llm_gateway.scheduling.policies import OrderingPolicy
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.waiting import Waiting


class WaitBound:
    """`on_violation` is called with the name of a class whose overdue request was passed."""

    def __init__(
        self,
        policy: OrderingPolicy,
        classes: Iterable[PriorityClass],
        queue: RequestQueue,
        max_queue: int,
        *,
        rate: ServiceRate,
        on_violation: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._max_queue = max_queue
        self._rate = rate
        self._passable = {cls.name: _passable_seconds(policy, cls) for cls in classes}
        self._on_violation = on_violation

    def seconds(self, class_name: str) -> float:
        """At the present service rate; infinite while no engine is up, and for a policy without a bound."""
        rate = self._rate.per_second()
        queued = self._max_queue / rate if rate else math.inf
        return self._passable[class_name] + queued

    def check(self, granted: Waiting, now: float, engine: Engine | None = None) -> None:
        """To be called with every request that is served at `engine`, after it left the queue at `now`."""
        for waiting in self._queue.oldest():
            if (
                waiting.due <= now
                and waiting.key < granted.key
                and (engine is None or engine in self._queue.route_of(waiting))
            ):
                self._on_violation(waiting.cls.name)


def _passable_seconds(policy: OrderingPolicy, cls: PriorityClass) -> float:
    """How long after its arrival a request may be passed; its deadline is that of its class."""
    return policy.due(policy.key(Waiting(cls, 0.0, deadline=cls.ttft_target)))
