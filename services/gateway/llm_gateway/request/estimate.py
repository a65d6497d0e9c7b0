"""How many tokens a request is going to cost, before it ran: learned online, O(1) a request, in bounded memory.

Output. For each class, and for each tenant in it, a running mean of output tokens over about the last `HORIZON`
requests, and a running 90th percentile. Both start from a prior and shrink to what is learned:

    predicted = (k * prior + n * learned) / (k + n)       n requests seen, k = PRIOR_STRENGTH

The prior of a tenant is the prediction for its class, and the prior of a class is the request's own max_tokens, the
safe side. No prediction exceeds max_tokens. The percentile q is tracked by stochastic approximation in logarithms
(Robbins and Monro 1951): q grows by the factor e^(0.9 s) when it is exceeded, else shrinks by e^(-0.1 s), which is in
balance where one in ten exceeds it; the step s falls with n down to a floor, so that it keeps following.

Prompt. Tokens are the body's bytes over a learned number of bytes per token, the ratio of two decayed sums.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

HORIZON = 200
"""Requests after which an observation counts 1/e."""
PRIOR_STRENGTH = 8.0
"""The prior counts as many observations as this."""
MAX_TENANTS = 4096
"""Pairs of class and tenant that are remembered; the one that was used least recently is forgotten."""
UNKNOWN_MAX_TOKENS = 256
"""Stands for max_tokens in a request that has none."""
PERCENTILE = 0.9
MIN_STEP = 0.02

BYTES_PER_TOKEN = 4.0
"""English text and code under today's vocabularies; what the ratio starts from."""
PRIOR_PROMPT_TOKENS = 1000.0
"""The starting ratio counts as many tokens as this."""


class Prediction(NamedTuple):
    """Output tokens, 1 … max_tokens."""

    mean: int
    high: int
    """Nine requests in ten stay below; at least `mean`."""


class _Learned:
    """Statistics of the lengths of one class or of one tenant in it."""

    __slots__ = ("count", "high", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.high = 0.0

    def observe(self, tokens: int) -> None:
        self.count += 1
        self.mean += (tokens - self.mean) / min(self.count, HORIZON)
        if self.count == 1:
            self.high = max(1.0, tokens)
            return
        step = max(MIN_STEP, 1.0 / math.sqrt(self.count))
        self.high = max(1.0, self.high * math.exp(step * (PERCENTILE - (tokens <= self.high))))

    def over(self, prior_mean: float, prior_high: float) -> tuple[float, float]:
        """Mean and percentile, shrunk from the prior towards what was seen."""
        seen = self.count / (self.count + PRIOR_STRENGTH)
        return prior_mean + seen * (self.mean - prior_mean), prior_high + seen * (self.high - prior_high)


class OutputEstimator:
    """`max_tokens` is what the request asks for, None if it does not say."""

    def __init__(self) -> None:
        self._classes: dict[str, _Learned] = {}
        self._tenants: OrderedDict[tuple[str, str], _Learned] = OrderedDict()

    def predict(self, class_name: str, tenant: str, max_tokens: int | None) -> Prediction:
        limit = UNKNOWN_MAX_TOKENS if max_tokens is None else max(1, max_tokens)
        mean = high = float(limit)
        if (of_class := self._classes.get(class_name)) is not None:
            mean, high = of_class.over(mean, high)
        if (of_tenant := self._tenants.get((class_name, tenant))) is not None:
            mean, high = of_tenant.over(mean, high)
        expected = max(1, min(limit, round(mean)))
        return Prediction(expected, max(expected, min(limit, math.ceil(high))))

    def observe(self, class_name: str, tenant: str, output_tokens: int) -> None:
        """Learns from a request that ran to its end."""
        self._classes.setdefault(class_name, _Learned()).observe(output_tokens)
        key = (class_name, tenant)
        learned = self._tenants.pop(key, None) or _Learned()
        learned.observe(output_tokens)
        self._tenants[key] = learned
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)


class PromptEstimator:
    def __init__(self) -> None:
        self._bytes = BYTES_PER_TOKEN * PRIOR_PROMPT_TOKENS
        self._tokens = PRIOR_PROMPT_TOKENS

    def predict(self, body_bytes: int) -> int:
        """Predict the prompt tokens of a request from its body's size in bytes, at least 1."""
        return max(1, round(body_bytes * self._tokens / self._bytes))

    def observe(self, body_bytes: int, prompt_tokens: int) -> None:
        """Learns from what the engine counted; a request without usage teaches nothing."""
        if body_bytes > 0 and prompt_tokens > 0:
            kept = 1.0 - 1.0 / HORIZON
            self._bytes = kept * self._bytes + body_bytes
            self._tokens = kept * self._tokens + prompt_tokens
