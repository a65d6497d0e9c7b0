"""One request as the scheduler sees it."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field

from llm_gateway.classes import PriorityClass
from llm_proxy.upstream.interrupt import Interruptible


@dataclass(slots=True, eq=False)
class Waiting:
    """A request in the scheduler: class, tenant, size and deadline, and its state in the queue."""

    cls: PriorityClass
    arrived: float
    """On the gateway's monotonic clock, seconds."""
    _: KW_ONLY
    tenant: str = ""
    """The tenant whose share it uses. All anonymous requests are one tenant."""
    weight: float = 1.0
    """The tenant's weight. Shares are proportional to weights."""
    prompt_tokens: int = 0
    """Predicted, like the output tokens."""
    output_tokens: int = 0
    deadline: float = math.inf
    """Time by which it needs its first token, seconds on the clock of `arrived`."""
    session: str | None = None
    prefix: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks. Two prompts with equal hashes up to index i are equal up to block i."""
    model: str | None = None
    """The name that engines use for the model; None accepts any model."""
    request_id: str = ""
    trace_id: str | None = None
    """Trace id of the caller, for records."""

    key: float = 0.0
    """Rank by the policy. It is fixed at the first push, so a request that returns to the queue keeps its age."""
    due: float = math.inf
    """Time from which no request with a larger key is served first, seconds. Fixed together with the key."""
    order: int = -1
    """Sequence number of its first push. It breaks ties of the key: first come, first served."""
    queued: bool = False
    charged: bool = False
    """The tenant has been charged for the prompt. Retries are not charged again."""
    tried: list[str] = field(default_factory=list)
    """Names of the engines that failed it. Other engines are preferred."""
    preempted: int = 0
    """How often it was pulled back from an engine."""
    interruptible: Interruptible = field(default_factory=Interruptible)
    """Active while the request is at an engine and can be pulled back."""
