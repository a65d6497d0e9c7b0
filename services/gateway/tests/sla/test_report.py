from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.sla.record import SlaRecord
from llm_gateway.sla.report import render_page
from llm_gateway.sla.report.page import shown_span
from llm_gateway.sla.store import SlaStore
from llm_gateway.sla.summary import summarise
from llm_gateway.sla.testing import NOW, record
from llm_gateway.sla.window import load


def page_of(records: list[SlaRecord], seconds: float = 3600.0) -> str:
    store = SlaStore("", 86400.0, 1_000_000, lambda: NOW)
    store.write(records)
    window = store.read(lambda connection: load(connection, NOW - seconds, NOW))
    return render_page(window, summarise(window, DEFAULT_CLASSES, lambda _: 1.0))


def headline_of(page: str) -> str:
    return page.split('class="headline">')[1].split("</p>")[0]


@pytest.mark.parametrize(
    ("records", "seconds", "says"),
    [
        ([], 3600, "No request in the last hour counts towards a promise."),
        ([record()], 3600, "Every promise was kept in the last hour: 100% of interactive requests were on time."),
        (
            [record(), record(ttft=9.0), record(class_name="batch")],
            86400,
            "One promise was not kept in the last day: 50% of interactive requests were on time; the objective is 99%.",
        ),
        (
            [record(ttft=9.0), record(class_name="batch", outcome="queue_full")],
            600,
            "2 promises were not kept in the last 10 minutes: 0% of interactive and 0% of batch requests were on "
            "time; the objective is 99%.",
        ),
        ([record(outcome="client_closed")], 3600, "No request in the last hour counts towards a promise."),
    ],
)
def test_the_headline_says_whether_the_promises_are_kept(records: list[SlaRecord], seconds: float, says: str) -> None:
    assert headline_of(page_of(records, seconds)) == says


@pytest.mark.parametrize(
    ("age", "seconds", "shown"), [(20, 3600, 300), (400, 3600, 900), (3000, 3600, 3600), (9, 60, 60)]
)
def test_charts_begin_about_where_the_records_do(age: float, seconds: float, shown: float) -> None:
    store = SlaStore("", 86400.0, 1_000_000, lambda: NOW)
    store.write([record(time=NOW - age)])
    span = shown_span(store.read(lambda connection: load(connection, NOW - seconds, NOW)))
    assert (span.seconds, span.end) == (shown, NOW)


def test_the_page_fetches_nothing_and_escapes_what_clients_chose() -> None:
    page = page_of([record(tenant="<script>alert(1)</script>", class_name='"><img>')])
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for outside in ("http://", "https://", "url(", "@import", "src="):
        assert outside not in page


def test_each_drawing_is_well_formed_and_says_what_it_shows() -> None:
    page = page_of(
        [record(class_name=name, time=NOW - 60 * age) for name in ("interactive", "<b>") for age in range(9)]
    )
    drawings = [part.split("</svg>")[0] + "</svg>" for part in page.split("<svg")[1:]]
    assert len(drawings) == 6
    for drawing in drawings:
        assert ET.fromstring("<svg" + drawing).attrib["aria-label"]


rows = st.builds(
    record,
    time=st.floats(NOW - 3600, NOW, exclude_min=True),
    class_name=st.sampled_from(["interactive", "batch", "old"]),
    tenant=st.text(max_size=5),
    outcome=st.sampled_from(["ok", "queue_full", "engine_failed", "client_closed"]),
    queue_wait=st.none() | st.floats(0, 1e6),
    ttft=st.none() | st.floats(0, 1e6),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, max_size=30), st.sampled_from([60, 3600, 86400, 604800]))
def test_whatever_is_stored_can_be_drawn(records: list[SlaRecord], seconds: float) -> None:
    page = page_of(records, seconds)
    assert page.rstrip().endswith("</html>")
    drawings = [drawing.split("</svg>")[0] for drawing in page.split("<svg")[1:]]
    assert not any("nan" in drawing or "inf" in drawing for drawing in drawings)
