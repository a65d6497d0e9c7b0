"""Names of the spans and attributes of a trace.

router.request                the server span; the client's `traceparent` is its parent
├─ router.pick                wait for room and choose an engine; once per attempt
├─ router.upstream            one exchange with an engine, which gets this span as its `traceparent`
└─ router.replay              a broken stream from its engine's failure to the next engine's first byte
"""

from __future__ import annotations

PICK, UPSTREAM, REPLAY = "router.pick", "router.upstream", "router.replay"

ENGINE = "llm_router.engine"
POLICY = "llm_router.policy"
TOKENS = "llm_router.tokens"
"""Number of tokens that the client had when its stream broke."""
