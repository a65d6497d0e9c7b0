from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.sla import summary as sla_summary
from llm_gateway.sla.record import SlaRecord
from llm_gateway.sla.report import series
from llm_gateway.sla.store import SlaStore
from llm_gateway.sla.summary import Percentiles, SlaSummary, jain, summarise
from llm_gateway.sla.testing import NOW, record
from llm_gateway.sla.window import Window, load


def window_of(records: list[SlaRecord], seconds: float = 100.0) -> Window:
    store = SlaStore("", 86400.0, 1_000_000, lambda: NOW)
    store.write(records)
    return store.read(lambda connection: load(connection, NOW - seconds, NOW))


def summary_of(records: list[SlaRecord], weights: dict[str, float] | None = None) -> SlaSummary:
    return summarise(window_of(records), DEFAULT_CLASSES, lambda tenant: (weights or {}).get(tenant, 1.0))


def test_a_window_holds_what_ended_in_it_and_none_becomes_nan() -> None:
    window = window_of([record(time=NOW - age, ttft=None) for age in (100.0, 99.9, 0.0)])
    assert list(window.time) == [NOW - 99.9, NOW]
    assert np.isnan(window.ttft).all()
    assert list(window.queue_wait) == [0.1, 0.1]


def test_the_figures_of_a_class() -> None:
    outcomes = ["ok"] * 6 + ["queue_full", "engine_failed", "client_closed"]
    records = [record(time=NOW - 50 + number, outcome=outcome) for number, outcome in enumerate(outcomes)]
    records[0].ttft = 2.0
    records[1].queue_wait = 7.0
    summary = summary_of(records)
    assert [cls.name for cls in summary.classes] == ["interactive", "standard", "batch"]
    figures = summary.classes[0].figures
    assert (figures.requests, figures.met, figures.late) == (8, 5, 1)
    assert (figures.rejected, figures.failed, figures.excluded) == (1, 1, 1)
    assert figures.attainment == 5 / 8
    assert summary.seconds == 50.0
    assert figures.goodput == 5 / 50.0
    assert (figures.prompt_tokens, figures.output_tokens) == (9 * 20, 9 * 11)
    assert (figures.ttft.p50, figures.ttft.p90, figures.ttft.p99) == pytest.approx((0.3, 0.64, 1.864))
    assert figures.longest_wait == 7.0
    assert summary.classes[1].figures.attainment is None
    assert summary.classes[1].figures.ttft == Percentiles(None, None, None)


def test_a_class_that_is_no_longer_configured_is_shown_last_and_without_targets() -> None:
    summary = summary_of([record(class_name="gold"), record()])
    assert [(cls.name, cls.ttft_target) for cls in summary.classes] == [
        ("interactive", 0.5),
        ("standard", 2.0),
        ("batch", 30.0),
        ("gold", None),
    ]


def test_tenants_stand_under_their_classes_the_busiest_first() -> None:
    records = [record(tenant="a"), record(tenant="b"), record(tenant="b"), record(tenant="a", class_name="batch")]
    summary = summary_of(records)
    found = [(one.class_name, one.tenant, one.figures.requests) for one in summary.tenants]
    assert found == [("interactive", "b", 2), ("interactive", "a", 1), ("batch", "a", 1)]


def test_of_many_tenants_the_busiest_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla_summary, "TENANT_ROWS", 3)
    summary = summary_of([record(tenant=f"t{number}") for number in range(10)] + [record(tenant="t7")])
    assert summary.tenants[0].tenant == "t7"
    assert (len(summary.tenants), summary.tenants_left_out) == (3, 7)


def test_fairness_is_over_tokens_by_weight() -> None:
    records = [record(tenant="a", prompt_tokens=200, output_tokens=100), record(tenant="b", output_tokens=80)]
    assert summary_of(records, {"a": 3.0}).jain == pytest.approx(1.0)
    assert summary_of(records).jain == pytest.approx(400**2 / (2 * (300**2 + 100**2)))
    assert summary_of([]).jain is None


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30))
def test_jains_index_is_between_one_tenant_takes_all_and_equal_shares(shares: list[float]) -> None:
    index = jain(shares)
    assert index is not None
    assert 1 / len(shares) - 1e-9 <= index <= 1 + 1e-9
    assert jain([shares[0]] * len(shares)) == pytest.approx(1.0)


rows = st.builds(
    record,
    time=st.floats(NOW - 100, NOW, exclude_min=True),
    class_name=st.sampled_from(["interactive", "batch", "old"]),
    tenant=st.sampled_from(["", "a", "b"]),
    outcome=st.sampled_from(["ok", "queue_full", "engine_failed", "client_closed"]),
    ttft=st.none() | st.floats(0, 10),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=60))
def test_classes_tenants_and_slices_each_add_up_to_the_window(records: list[SlaRecord]) -> None:
    window = window_of(records)
    summary = summarise(window, DEFAULT_CLASSES, lambda _: 1.0)
    for parts in (summary.classes, summary.tenants):
        assert sum(part.figures.requests + part.figures.excluded for part in parts) == len(records)
        assert sum(part.figures.met for part in parts) == sum(one.met is True for one in records)
    span = series.Span(window.start, window.end)
    counts = series.outcomes(window, span)
    assert len(counts) == series.SLICES
    assert sum(map(sum, counts)) == len(records)
    for cls in summary.classes:
        drawn = series.class_series(window, cls.name, span)
        assert all(value is None or 0 <= value <= 1 for value in drawn.attainment)
        worst = max((value for value in drawn.ttft_p99 if value is not None), default=-math.inf)
        measured = [one.ttft for one in records if one.class_name == cls.name and one.ttft is not None]
        assert worst <= max(measured, default=-math.inf)
