"""One request as the scheduler sees it."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field

from llm_gateway.fleet.bids import Bid
from llm_gateway.request.classes import PriorityClass
from llm_gateway.scheduling.interrupt import Interruptible


@dataclass(slots=True, eq=False)
class Waiting:
    """A request in the scheduler: its class, tenant, size and deadline, and its state in the queue."""

    cls: PriorityClass
    arrived: float
    """On the gateway's monotonic clock, seconds."""
    _: KW_ONLY
    tenant: str = ""
    """Tenant whose share it counts against; all anonymous requests are one tenant."""
    weight: float = 1.0
    """The tenant's; a share is in proportion to it."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Predicted."""
    deadline: float = math.inf
    """Time at which its first token is wanted, seconds on the clock of `arrived`."""
    session: str | None = None
    prefix: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks: equal up to index i means the same text up to block i."""
    model: str | None = None
    """Name that its engines use; None accepts any model."""
    request_id: str = ""
    trace_id: str | None = None
    """The caller's, for records."""

    key: float = 0.0
    """Rank by the policy; fixed at the first push, so a request that comes back keeps its age."""
    due: float = math.inf
    """Time from which no request with a larger key goes first, seconds. Fixed together with the key."""
    order: int = -1
    """Number of its first push: breaks ties of the key, first come first served."""
    queued: bool = False
    charged: bool = False
    """Whether the tenant has been charged for the prompt; retries are not charged again."""
    tried: list[str] = field(default_factory=list)
    """Names of the engines that failed it before; another one is preferred."""
    preempted: int = 0
    """Number of times that it was pulled back from an engine."""
    interruptible: Interruptible = field(default_factory=Interruptible)
    """Entered while it is at an engine and can be pulled back."""
    bid: Bid | None = None
    """Its bid in the fleet, if the gateway is in one."""
