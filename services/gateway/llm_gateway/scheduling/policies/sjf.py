"""Shortest job first: key = predicted work, in units of one prompt token's engine time.

Purpose     Minimise the mean wait: many short requests do not wait behind one long request.
Formula     key = prompt tokens + 50 * predicted output tokens, fixed when the request is queued.
Inputs      The request's prompt tokens and predicted output tokens (llm_gateway.request.estimate).
Config      None. 50 is the cost of a decode step over the prefill of one token: 10 ms over 0.2 ms for fast engines,
            20 ms over 0.4 ms for slow ones. Only the order of requests depends on it.
Trade-off   It is as good as the prediction. A long request waits for every shorter one that arrives, so long requests
            starve in overload. Classes have no influence.
Wait bound  None.
"""

from __future__ import annotations

from llm_gateway.scheduling.policies.ordering import KeyedPolicy
from llm_gateway.waiting import Waiting

OUTPUT_TOKEN_WORK = 50.0
"""Prompt tokens that an engine prefills in the time of one output token."""


class Sjf(KeyedPolicy):
    """Shortest predicted job first."""

    def key(self, request: Waiting) -> float:
        return request.prompt_tokens + OUTPUT_TOKEN_WORK * request.output_tokens
