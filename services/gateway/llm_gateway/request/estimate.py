"""The predicted number of tokens of a request, learned online in O(1) per request and in bounded memory.

Output. Each class, and each tenant within it, has a running mean of output tokens over about the last `HORIZON`
requests and a running 90th percentile. Both move from a prior towards the learned value:

    predicted = (k * prior + n * learned) / (k + n)       n requests seen, k = PRIOR_STRENGTH

The prior of a tenant is the prediction for its class. The prior of a class is the request's own max_tokens, which is
conservative. No prediction exceeds max_tokens. The percentile q is tracked by stochastic approximation in logarithms
(Robbins and Monro 1951): q grows by the factor e^(0.9 s) when a length exceeds it, and shrinks by e^(-0.1 s) otherwise.
The two balance when one length in ten exceeds q. The step s falls with n to a floor, so that q keeps adapting.

Prompt. The prediction is the body's bytes over a learned number of bytes per token, the ratio of two decayed sums.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

HORIZON = 200
"""Number of requests after which an observation's weight has fallen to 1/e."""
PRIOR_STRENGTH = 8.0
"""Number of observations that the prior counts as."""
MAX_TENANTS = 4096
"""Most pairs of class and tenant that are kept. The least recently used one is dropped."""
UNKNOWN_MAX_TOKENS = 256
"""Assumed max_tokens of a request without one."""
PERCENTILE = 0.9
MIN_STEP = 0.02

BYTES_PER_TOKEN = 4.0
"""Initial ratio: English text and code under current vocabularies."""
PRIOR_PROMPT_TOKENS = 1000.0
"""Number of tokens that the initial ratio counts as."""


class Prediction(NamedTuple):
    """Predicted output tokens, from 1 to max_tokens."""

    mean: int
    high: int
    """90th percentile, at least `mean`."""


class _Learned:
    """Statistics of the output lengths of a class, or of a tenant within it."""

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
        """Return mean and percentile, weighted between the prior and the observations."""
        seen = self.count / (self.count + PRIOR_STRENGTH)
        return prior_mean + seen * (self.mean - prior_mean), prior_high + seen * (self.high - prior_high)


class OutputEstimator:
    """Predicts output tokens. `max_tokens` is the request's own limit, None without one."""

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
        """Learn from a request that ran to its end."""
        self._classes.setdefault(class_name, _Learned()).observe(output_tokens)
        key = (class_name, tenant)
        learned = self._tenants.pop(key, None) or _Learned()
        learned.observe(output_tokens)
        self._tenants[key] = learned
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)


class PromptEstimator:
    """Predicts prompt tokens."""

    def __init__(self) -> None:
        self._bytes = BYTES_PER_TOKEN * PRIOR_PROMPT_TOKENS
        self._tokens = PRIOR_PROMPT_TOKENS

    def predict(self, body_bytes: int) -> int:
        """Predict the prompt tokens of a request from its body's size in bytes, at least 1."""
        return max(1, round(body_bytes * self._tokens / self._bytes))

    def observe(self, body_bytes: int, prompt_tokens: int) -> None:
        """Learn from the engine's count. A count of 0 is ignored."""
        if body_bytes > 0 and prompt_tokens > 0:
            kept = 1.0 - 1.0 / HORIZON
            self._bytes = kept * self._bytes + body_bytes
            self._tokens = kept * self._tokens + prompt_tokens
