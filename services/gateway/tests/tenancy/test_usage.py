from __future__ import annotations

from llm_gateway.metrics import GatewayMetrics
from llm_gateway.tenancy.usage import UsageBook


def test_totals_are_what_a_scrape_shows() -> None:
    book, metrics = UsageBook(), GatewayMetrics()
    metrics.observe_tenants(book)
    blue = book.of("blue")
    blue.requests += 2
    blue.prompt_tokens += 30
    blue.output_tokens += 7
    book.limited("blue", "requests")
    book.limited("other", "tokens")
    assert metrics.value("gateway_tenant_requests_total", {"tenant": "blue"}) == 2
    assert metrics.value("gateway_tenant_tokens_total", {"tenant": "blue", "kind": "prompt"}) == 30
    assert metrics.value("gateway_tenant_tokens_total", {"tenant": "blue", "kind": "output"}) == 7
    assert metrics.value("gateway_tenant_limited_total", {"tenant": "blue", "limit": "requests"}) == 1
    assert metrics.value("gateway_tenant_limited_total", {"tenant": "other", "limit": "tokens"}) == 1
    assert b'gateway_tenant_requests_total{tenant="blue"} 2.0' in metrics.text()


def test_one_account_per_label() -> None:
    book = UsageBook()
    assert book.of("other") is book.of("other")
    assert [label for label, _ in book.items()] == ["other"]
