"""The trace elements in Chromium, each on a page of its own in the site's frame: each goes to its end and agrees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect  # pants: no-infer-dep

Visit = Callable[..., Any]
"""conftest's `visitor`."""
ELEMENTS = {
    "blocks": '<trace-blocks trace="paging"></trace-blocks>',
    "batch": '<trace-batch trace="batching-continuous" against="batching-static"></trace-batch>',
    "prefill": '<trace-prefill trace="prefill-chunked" against="prefill-whole"></trace-prefill>',
    "prefix": '<trace-prefix trace="prefix-hash" against="prefix-radix"></trace-prefix>',
    "pressure": '<trace-pressure trace="preempt-recompute" against="preempt-swap"></trace-pressure>',
    "queue": '<trace-queue trace="policy-priority" against="policy-fcfs"></trace-queue>',
    "gateway": '<trace-queue trace="queue-gateway"></trace-queue>',
    "lifecycle": '<trace-lifecycle trace="lifecycle"></trace-lifecycle>',
}
AT_STEP = {"swap": '<trace-blocks trace="preempt-swap" step="12"></trace-blocks>'}
LIKE = "glossary.html"
EVENTS = """(name) => new Promise((take) => {
  const before = course.registerTrace;
  course.registerTrace = (found, text) => { before(found, text); if (found === name) take(course.traceEvents(text)); };
  const script = document.createElement("script");
  script.src = `assets/traces/${name}.js`;
  document.head.append(script);
})"""
GO_TO_EACH = """async () => {
  const trace = document.querySelector(".trace").closest("[trace]");
  const text = (part) => trace.querySelector(part)?.textContent || "";
  const faults = [];
  for (let step = 0; step <= trace.last; step++) {
    trace.go(step);
    if (text(".t-place") !== `${step} / ${trace.last}`) faults.push(`${step}: is at ${text(".t-place")}`);
    if (!text(".t-say b")) faults.push(`${step}: says nothing`);
    if (trace.querySelector(".t-warn")) faults.push(`${step}: ${text(".t-warn")}`);
    if (document.documentElement.scrollWidth > innerWidth) faults.push(`${step}: too wide`);
  }
  return faults;
}"""
COUNT_AT_EACH = """(steps) => steps.map((step) => {
  const trace = document.querySelector("trace-blocks");
  trace.go(step);
  const count = (part) => trace.querySelectorAll(part).length;
  return [trace.querySelector(".t-stage h4").textContent, count(".t-block.t-cached"), count(".t-block.t-evicted")];
})"""


@pytest.fixture(scope="module")
def address(site: Path, serve: Callable[[Path], Any]) -> str:
    """Return the address of the site with a page for each of ELEMENTS."""
    served = serve(site)
    for name, element in (ELEMENTS | AT_STEP).items():
        served.put(f"{name}.html", f"<h1>{name}</h1><p>Some text before the picture.</p><div>{element}</div>", LIKE)
    return str(served.without_search().address)


@pytest.fixture
def walk(visitor: Visit, address: str) -> Iterator[Any]:
    """Return a tab; whatever it complains of fails the test."""
    walk = visitor(address)
    yield walk
    assert walk.complaints == []


@pytest.fixture
def page(walk: Any) -> Page:
    page: Page = walk.page
    return page


def go(page: Page, name: str) -> None:
    page.goto(f"{name}.html")
    expect(page.locator(".t-check")).to_be_visible()


def last_step(page: Page) -> int:
    return int(page.locator(".t-place").inner_text().split(" / ")[1])


@pytest.mark.parametrize("name", ELEMENTS)
def test_every_picture_steps_to_its_end_and_fits(walk: Any, name: str) -> None:
    page = walk.page
    go(page, name)
    expect(page.locator(".t-check")).to_contain_text("agree with")
    last = last_step(page)
    page.locator(".trace .t-main").focus()
    for step in range(1, 11):
        page.keyboard.press("ArrowRight")
        expect(page.locator(".t-place")).to_have_text(f"{step} / {last}")
    page.keyboard.press("End")
    expect(page.locator(".t-place")).to_have_text(f"{last} / {last}")
    for width, scheme in ((1280, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(GO_TO_EACH) == []
        fits(page)


def fits(page: Page) -> None:
    """Fail if the bar takes two lines or a picture is wider than its stage."""
    assert page.locator(".t-bar").bounding_box()["height"] <= 30  # type: ignore[index]
    stage = page.locator(".t-stage").bounding_box()
    assert stage is not None
    for box in page.evaluate(
        "[...document.querySelectorAll('.t-stage svg')].map((one) => one.getBoundingClientRect().right)"
    ):
        assert box <= stage["x"] + stage["width"] + 1


def test_the_pool_shows_the_engines_counters_at_every_step(page: Page) -> None:
    go(page, "blocks")
    events = page.evaluate(EVENTS, "paging")
    total = next(event for event in events if event["event"] == "start")["num_blocks"]
    steps = [event for event in events if event["event"] == "step"]
    shown = page.evaluate(COUNT_AT_EACH, [event["index"] for event in steps])
    for event, (title, cached, evicted) in zip(steps, shown, strict=True):
        counters = event["blocks"]
        owned = total - counters["free"] - counters["cached"]
        assert tuple(map(int, re.findall(r"\d+", title))) == (owned, counters["cached"], counters["free"])
        assert (cached, evicted) == (counters["cached"], len(event["evicted"]))


def test_the_two_ways_of_batching_end_where_the_engine_ended(page: Page) -> None:
    go(page, "batch")
    page.locator(".trace .t-main").focus()
    page.keyboard.press("End")
    steps = {
        name: sum(event["event"] == "step" for event in page.evaluate(EVENTS, name))
        for name in ("batching-continuous", "batching-static")
    }
    titles = page.locator(".t-stage h4").all_inner_texts()
    assert f"done at step {steps['batching-continuous'] - 1}" in titles[0]
    assert f"done at step {steps['batching-static'] - 1}" in titles[1]
    assert steps["batching-continuous"] < steps["batching-static"]


def test_preemptions_are_counted_and_explained(page: Page) -> None:
    go(page, "pressure")
    steps = [event for event in page.evaluate(EVENTS, "preempt-recompute") if event["event"] == "step"]
    preempted = [step for step in steps if step["preempted"]]
    page.evaluate("(step) => document.querySelector('trace-pressure').go(step)", preempted[0]["index"])
    (item,) = preempted[0]["preempted"]
    said = page.locator(".t-say").inner_text()
    assert item["needed_by"].split("/")[0] in said
    assert f"{item['lost_tokens']} tokens is thrown away" in said
    page.locator(".trace .t-main").focus()
    page.keyboard.press("End")
    total = sum(len(step["preempted"]) for step in steps)
    assert f"{total} preemptions" in page.locator(".t-stage h4").first.inner_text()


def test_the_queue_shows_who_waits(page: Page) -> None:
    go(page, "gateway")
    events = [event for event in page.evaluate(EVENTS, "queue-gateway") if event["event"] not in ("recording", "start")]
    for index, event in enumerate(events):
        page.evaluate("(step) => document.querySelector('trace-queue').go(step)", index)
        if event["event"] in ("grant", "release"):
            text = page.locator(".t-stage h4").first.inner_text()
            assert re.search(rf"\b{event['waiting']} requests? waits?\b", text)
            assert f"{event['in_flight']} of" in text
    page.evaluate("document.querySelector('trace-queue').go(1e9)")


def test_keys_play_and_the_next_event(page: Page) -> None:
    go(page, "blocks")
    trace = page.locator("trace-blocks")
    page.locator(".t-bar button").nth(1).focus()
    page.keyboard.press("n")
    step = int(page.locator(".t-place").inner_text().split(" / ")[0])
    assert step > 0
    assert "cache" in page.locator(".t-say").inner_text() or "evict" in page.locator(".t-say").inner_text()
    page.locator("trace-blocks select").last.select_option(index=0)
    page.locator(".t-table").focus()
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function("(before) => document.querySelector('trace-blocks').i > before", arg=step)
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(trace).to_have_attribute("role", "group")


def test_a_trace_of_ones_own_is_replayed_and_nonsense_is_refused(page: Page, tmp_path: Path) -> None:
    go(page, "blocks")
    mine = tmp_path / "mine.jsonl"
    events = [event for event in page.evaluate(EVENTS, "preempt-swap") if event["event"] != "recording"]
    mine.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    page.locator("trace-blocks input[type=file]").set_input_files(mine)
    expect(page.locator(".t-stage h4").first).to_contain_text("Block pool")
    assert last_step(page) == sum(event["event"] == "step" for event in events) - 1
    mine.write_text("nothing", encoding="utf-8")
    page.locator("trace-blocks input[type=file]").set_input_files(mine)
    expect(page.locator(".t-warn")).to_contain_text("line 1 is no JSON")


def test_a_page_opens_at_the_step_it_names(page: Page) -> None:
    go(page, "swap")
    assert page.locator(".t-place").inner_text().startswith("12 /")
