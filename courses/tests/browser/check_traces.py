"""The trace elements in Chromium, on a small site of their own built with Material: each goes to its end and agrees.

    .venv-docs/bin/python -m pytest -o python_files='check_*.py' courses/tests/browser/check_traces.py

It needs the docs environment (mkdocs-material, playwright) and Debian's chromium, so it is no part of `./pants test`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
ASSETS = ROOT / "docs" / "assets"
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
SCRIPTS = ("replay", "trace-draw", "trace-shell", *(f"trace-{name}" for name in ELEMENTS if name != "gateway"))
CONFIGURATION = """
site_name: Test
use_directory_urls: false
plugins: [search]
theme:
  name: material
  font: false
  features: [navigation.instant]
  palette:
    - {media: "(prefers-color-scheme: light)", scheme: default}
    - {media: "(prefers-color-scheme: dark)", scheme: slate}
extra_css: [assets/css/traces.css]
"""
LIGHT: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"}
DARK: dict[str, Any] = {**LIGHT, "color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "color_scheme": "light"}
EVENTS = """(name) => new Promise((take) => {
  const before = course.registerTrace;
  course.registerTrace = (found, text) => { before(found, text); if (found === name) take(course.traceEvents(text)); };
  const script = document.createElement("script");
  script.src = `assets/traces/${name}.js`;
  document.head.append(script);
})"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("js", "css", "traces"):
        shutil.copytree(ASSETS / name, folder / "docs" / "assets" / name)
    (folder / "docs" / "index.md").write_text("# Home\n", encoding="utf-8")
    for name, element in ELEMENTS.items():
        text = f"# {name}\n\nSome text before the picture.\n\n<div>{element}</div>\n"
        (folder / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    scripts = ", ".join(f"assets/js/{name}.js" for name in SCRIPTS)
    (folder / "mkdocs.yml").write_text(f"{CONFIGURATION}extra_javascript: [{scripts}]\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "-q"], cwd=folder, check=True)
    return folder / "site"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(params=["light"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a new profile; an error in the console, or a request to outside, fails the test."""
    context = browser.new_context(**{"light": LIGHT, "dark": DARK, "phone": PHONE}[request.param])
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    yield opened
    context.close()
    assert errors == []


def go(page: Page, site: Path, name: str) -> None:
    page.goto((site / f"{name}.html").as_uri())
    expect(page.locator(".t-check")).to_be_visible()


def last_step(page: Page) -> int:
    return int(page.locator(".t-place").inner_text().split(" / ")[1])


@pytest.mark.parametrize("page", ["light", "dark", "phone"], indirect=True)
@pytest.mark.parametrize("name", ELEMENTS)
def test_every_picture_steps_to_its_end_and_fits(page: Page, site: Path, name: str) -> None:
    go(page, site, name)
    expect(page.locator(".t-check")).to_contain_text("agree with")
    last = last_step(page)
    page.locator(".trace .t-main").focus()
    for step in range(1, last + 1):
        page.keyboard.press("ArrowRight")
        if step % 10 == 0 or step == last:
            expect(page.locator(".t-place")).to_have_text(f"{step} / {last}")
            assert page.locator(".t-say b").inner_text()
            assert page.locator(".t-warn").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".t-bar").bounding_box()["height"] <= 30  # type: ignore[index]
    stage = page.locator(".t-stage").bounding_box()
    assert stage is not None
    for box in page.evaluate(
        "[...document.querySelectorAll('.t-stage svg')].map((one) => one.getBoundingClientRect().right)"
    ):
        assert box <= stage["x"] + stage["width"] + 1


def test_the_pool_shows_the_engines_counters_at_every_step(page: Page, site: Path) -> None:
    go(page, site, "blocks")
    events = page.evaluate(EVENTS, "paging")
    total = next(event for event in events if event["event"] == "start")["num_blocks"]
    for event in (event for event in events if event["event"] == "step"):
        page.evaluate("(step) => document.querySelector('trace-blocks').go(step)", event["index"])
        title = page.locator(".t-stage h4").first.inner_text()
        owned, cached, free = map(int, re.findall(r"\d+", title))
        counters = event["blocks"]
        assert (owned, cached, free) == (
            total - counters["free"] - counters["cached"],
            counters["cached"],
            counters["free"],
        )
        assert page.locator(".t-block.t-cached").count() == cached
        assert page.locator(".t-block.t-evicted").count() == len(event["evicted"])


def test_the_two_ways_of_batching_end_where_the_engine_ended(page: Page, site: Path) -> None:
    go(page, site, "batch")
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


def test_preemptions_are_counted_and_explained(page: Page, site: Path) -> None:
    go(page, site, "pressure")
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


def test_the_queue_shows_who_waits(page: Page, site: Path) -> None:
    go(page, site, "gateway")
    events = [event for event in page.evaluate(EVENTS, "queue-gateway") if event["event"] not in ("recording", "start")]
    for index, event in enumerate(events):
        page.evaluate("(step) => document.querySelector('trace-queue').go(step)", index)
        if event["event"] in ("grant", "release"):
            text = page.locator(".t-stage h4").first.inner_text()
            assert re.search(rf"\b{event['waiting']} requests? waits?\b", text)
            assert f"{event['in_flight']} of" in text
    page.evaluate("document.querySelector('trace-queue').go(1e9)")


def test_keys_play_and_the_next_event(page: Page, site: Path) -> None:
    go(page, site, "blocks")
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


def test_a_trace_of_ones_own_is_replayed_and_nonsense_is_refused(page: Page, site: Path, tmp_path: Path) -> None:
    go(page, site, "blocks")
    mine = tmp_path / "mine.jsonl"
    events = [event for event in page.evaluate(EVENTS, "preempt-swap") if event["event"] != "recording"]
    mine.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    page.locator("trace-blocks input[type=file]").set_input_files(mine)
    expect(page.locator(".t-stage h4").first).to_contain_text("Block pool")
    assert last_step(page) == sum(event["event"] == "step" for event in events) - 1
    mine.write_text("nothing", encoding="utf-8")
    page.locator("trace-blocks input[type=file]").set_input_files(mine)
    expect(page.locator(".t-warn")).to_contain_text("line 1 is no JSON")


def test_a_page_opens_at_the_step_it_names(page: Page, site: Path) -> None:
    go(page, site, "blocks")
    text = (
        (site / "blocks.html").read_text(encoding="utf-8").replace('trace="paging"', 'trace="preempt-swap" step="12"')
    )
    (site / "other.html").write_text(text, encoding="utf-8")
    go(page, site, "other")
    assert page.locator(".t-place").inner_text().startswith("12 /")
