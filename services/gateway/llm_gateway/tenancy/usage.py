"""The usage of each tenant since the start of the gateway, for the admin API and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from llm_contract import gateway_metrics as names
from llm_contract.metrics import Metric as MetricName


@dataclass(slots=True)
class Usage:
    """The account of one tenant."""

    requests: int = 0
    """Admitted requests, however they ended."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    limited_by_requests: int = 0
    limited_by_tokens: int = 0
    """Requests that the tenant's limits refused."""


class UsageBook:
    """One account per metric label: each configured tenant, and all others together. So the number is bounded."""

    def __init__(self) -> None:
        self._accounts: dict[str, Usage] = {}

    def of(self, label: str) -> Usage:
        found = self._accounts.get(label)
        if found is None:
            found = self._accounts[label] = Usage()
        return found

    def limited(self, label: str, limit: str) -> None:
        account = self.of(label)
        if limit == "requests":
            account.limited_by_requests += 1
        else:
            account.limited_by_tokens += 1

    def items(self) -> Iterable[tuple[str, Usage]]:
        return self._accounts.items()


class UsageCollector(Collector):
    """Reads the book at a scrape, so that a request costs two additions and no lock."""

    def __init__(self, book: UsageBook) -> None:
        self._book = book

    def collect(self) -> Iterator[Metric]:
        requests, tokens, limited = map(_family, (names.TENANT_REQUESTS, names.TENANT_TOKENS, names.TENANT_LIMITED))
        for label, usage in self._book.items():
            requests.add_metric([label], usage.requests)
            tokens.add_metric([label, "prompt"], usage.prompt_tokens)
            tokens.add_metric([label, "output"], usage.output_tokens)
            limited.add_metric([label, "requests"], usage.limited_by_requests)
            limited.add_metric([label, "tokens"], usage.limited_by_tokens)
        yield from (requests, tokens, limited)


def _family(metric: MetricName) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
