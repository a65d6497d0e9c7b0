"""The wait bound: the longest wait of a request of each class, and a check that it is never exceeded.

    bound = (D - t) + N / service rate      D - t: see the policy's page; N: the queue's bound

The bound in seconds varies with the service rate. The policy's own promise does not, and is checked exactly at every
grant: no request gets a slot that a request with a smaller key, past its D, could have used. If all engines serve the
same models, this covers all slots. Otherwise a request waits for the slots of its route: N is the bound of its group
and of the groups that share an engine with it, and the rate is that of the route with the fewest slots. The policy's
proof holds for each route separately, since the lanes that are passed over share no engine with the slot.

D never decreases with the key, so it is enough to check the oldest request of each lane. The count of violations stays
0 unless the scheduler has a defect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from llm_gateway.classes import PriorityClass
from llm_gateway.engines import Engine
from llm_gateway.scheduling.policies import OrderingPolicy
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.service_rate import ServiceRate


class WaitBound:
    """The bound of each class. `on_violation` is called with the class's name when an overdue request is passed."""

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
        """Return the bound at the current service rate: infinite without an engine, or for a policy without a bound."""
        rate = self._rate.per_second()
        queued = self._max_queue / rate if rate else math.inf
        return self._passable[class_name] + queued

    def check(self, granted: Waiting, now: float, engine: Engine | None = None) -> None:
        """Check a grant. Call it for every request that is served at `engine`, after it left the queue at `now`."""
        for waiting in self._queue.oldest():
            if (
                waiting.due <= now
                and waiting.key < granted.key
                and (engine is None or engine in self._queue.route_of(waiting))
            ):
                self._on_violation(waiting.cls.name)


def _passable_seconds(policy: OrderingPolicy, cls: PriorityClass) -> float:
    """Return the seconds after arrival during which newcomers can pass a request with its class's deadline."""
    return policy.due(policy.key(Waiting(cls, 0.0, deadline=cls.ttft_target)))
