"""One request as the scheduler sees it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_gateway.request.classes import PriorityClass
from llm_gateway.scheduling.interrupt import Interruptible

if TYPE_CHECKING:
    from llm_gateway.engines import Engine, Permit
    from llm_gateway.engines.routes import Route
    from llm_gateway.fleet.bids import Bid


@dataclass(slots=True, eq=False)
class Waiting:
    """Who asks, for how much, by when; and its place in the queue, which only the queue writes."""

    cls: PriorityClass
    arrived: float
    """On the gateway's monotonic clock, seconds."""
    tenant: str = ""
    """Whose share it counts against; all anonymous requests are one tenant."""
    weight: float = 1.0
    """The tenant's; a share is in proportion to it."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Predicted."""
    deadline: float = math.inf
    """When its first token is wanted, seconds on the clock of `arrived`."""
    session: str | None = None
    prefix: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks: equal up to index i means the same text up to block i."""
    model: str | None = None
    """As its engines name it; None: any will do."""

    key: float = 0.0
    """The policy's; fixed at the first push, so a request that comes back keeps its age."""
    due: float = math.inf
    """From this moment on nobody with a larger key goes first; seconds. Fixed together with the key."""
    order: int = -1
    """Number of its first push: breaks ties of the key, first come first served."""
    queued: bool = False
    route: Route = ()
    """The engines it waits for; set when it is queued."""
    charged: bool = False
    """Its prompt is on its tenant's account already: once, however often it is tried."""
    tried: list[Engine] = field(default_factory=list)
    """Engines that failed it before; another is preferred."""
    preempted: int = 0
    """Times that it was pulled back from an engine."""
    interruptible: Interruptible = field(default_factory=Interruptible)
    """Entered while it is at an engine and may be pulled back."""
    bid: Bid | None = None
    """What the fleet knows of it, where there is one."""
    granted: asyncio.Future[Permit] | None = None
    """Resolves to the permit of the engine slot it was given."""
