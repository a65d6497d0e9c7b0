"""Quizzes, cards, predictions, criteria and progress in Chromium, on a small site of their own built with Material.

    ./lab docs generate
    .venv-docs/bin/python -m pytest -o python_files='check_*.py' courses/tests/browser

It needs the docs environment (mkdocs-material, playwright) and Debian's chromium, so it is no part of `./pants test`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
ASSETS = ROOT / "docs" / "assets"
SCRIPTS = ("ui", "store", "quiz", "quiz-element", "fsrs", "cards", "prediction", "criteria", "progress")
PAGES = {
    "index.md": "# Home\n",
    "quiz.md": '# Quiz\n\n<div><course-quiz module="2"></course-quiz></div>\n',
    "some.md": '# Some\n\n<div><course-quiz module="1" ids="tpot,code-top-p"></course-quiz></div>\n',
    "cards.md": "# Due\n\n<div><course-cards></course-cards></div>\n",
    "progress.md": "# Progress\n\n<div><course-progress></course-progress></div>\n",
    "modules/02-core-concepts/block-manager.md": (
        "# The block manager\n\n"
        '<div><course-prediction name="evict" ask="After how many `steps`?" answer="31" unit="steps" '
        'why="The pool has `12` blocks."></course-prediction></div>\n\n'
        '<div><course-cards page="block-manager"></course-cards></div>\n\n'
        '<div><course-criteria module="2"></course-criteria></div>\n'
    ),
}
CONFIGURATION = """
site_name: Test
use_directory_urls: false
plugins: [search]
theme:
  name: material
  font: false
  palette:
    - {media: "(prefers-color-scheme: light)", scheme: default}
    - {media: "(prefers-color-scheme: dark)", scheme: slate}
extra_css: [assets/css/learning.css]
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    if not (ASSETS / "generated" / "quiz-02.js").is_file():
        pytest.fail("docs/assets/generated has no quizzes; run ./lab docs generate")
    for name in ("js", "css", "generated"):
        shutil.copytree(ASSETS / name, folder / "docs" / "assets" / name)
    for name, text in PAGES.items():
        path = folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
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


LIGHT = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"}
DARK = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 800}, "color_scheme": "light"}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    yield from _page(browser, LIGHT)


def _page(browser: Browser, settings: dict[str, Any]) -> Iterator[Page]:
    """Open a page of a new profile; errors of the console fail the test."""
    context = browser.new_context(**settings, accept_downloads=True)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    yield opened
    context.close()
    assert errors == []


def go(page: Page, site: Path, name: str) -> None:
    page.goto((site / name).as_uri())


def log_of(page: Page) -> list[dict[str, Any]]:
    return [json.loads(line) for line in page.evaluate("course.log.text()").splitlines()]


def answer(page: Page, right: bool) -> None:
    """Answer every question of the quiz on the page with what its data says is right, or with something else."""
    quiz = page.evaluate("course.quizzes['2']")
    boxes = page.locator(".quiz-question")
    for index in range(boxes.count()):
        _answer_one(boxes.nth(index), quiz, right)


def _answer_one(box: Locator, quiz: dict[str, Any], right: bool) -> None:
    name = box.get_attribute("data-question")
    question = next(each for each in quiz["questions"] if each["id"] == name)
    if question["kind"] in ("single", "multiple"):
        for option in question["options"]:
            if option["right"] == right:
                box.locator(f"input[value={json.dumps(option['text'])}]").check()
                if question["kind"] == "single":
                    break
        box.get_by_role("button", name="Check").click()
    elif question["kind"] == "code":
        box.get_by_role("button", name="Compare with a solution").click()
        box.get_by_role("button", name="It does" if right else "Not yet").click()
    else:
        variant = int(box.get_attribute("data-variant") or -1)
        if question["kind"] == "short":
            text = "--num-cpu-blocks" if right else "--swap-space"
        else:
            drawn = question["variants"][variant]
            text = str(drawn["answer"] if right else drawn["wrong"][0])
        field = box.get_by_label("Your answer")
        field.fill(text)
        field.press("Enter")


def test_a_quiz_is_failed_and_then_passed(page: Page, site: Path) -> None:
    go(page, site, "quiz.html")
    expect(page.locator(".quiz-status")).to_contain_text("0 of 20 answered. 85% passes.")
    answer(page, right=False)
    expect(page.locator(".quiz-result")).to_have_text("0 of 20 right (0%); 85% passes.")
    assert page.locator(".quiz-question.is-wrong").count() == 20
    order = page.locator(".quiz-question").evaluate_all("boxes => boxes.map((box) => box.dataset.question)")
    page.get_by_role("button", name="Try again, in a new order").click()
    again = page.locator(".quiz-question").evaluate_all("boxes => boxes.map((box) => box.dataset.question)")
    assert sorted(order) == sorted(again)
    assert order != again
    answer(page, right=True)
    expect(page.locator(".quiz-result")).to_have_text("20 of 20 right (100%): passed.")
    expect(page.locator(".quiz-status")).to_contain_text("Best so far 100% in 2 attempts.")
    finished = [event["facts"] for event in log_of(page) if event["facts"]["event"] == "finished"]
    assert finished == [{"event": "finished", "score": score, "of": 20} for score in (0, 20)]


def test_a_reload_goes_on_and_counts_nothing_twice(page: Page, site: Path) -> None:
    go(page, site, "quiz.html")
    answer(page, right=False)
    before = page.locator("course-quiz").inner_text()
    page.reload()
    expect(page.locator(".quiz-result")).to_be_visible()
    assert page.locator("course-quiz").inner_text() == before
    assert len([event for event in log_of(page) if event["facts"]["event"] == "finished"]) == 1
    page.get_by_role("button", name="Only the 20 missed").click()
    answer(page, right=True)
    expect(page.locator(".quiz-result")).to_have_text("20 of 20 right (100%).")
    assert len([event for event in log_of(page) if event["facts"]["event"] == "finished"]) == 1


def test_some_questions_have_no_score(page: Page, site: Path) -> None:
    go(page, site, "some.html")
    expect(page.locator(".quiz-question")).to_have_count(2)
    number = page.locator('[data-question="tpot"]')
    number.get_by_label("Your answer").fill("about ten")
    number.get_by_role("button", name="Check").click()
    expect(number.locator(".quiz-why")).to_have_text("Write a number.")
    number.get_by_label("Your answer").fill("0")
    number.get_by_role("button", name="Check").click()
    expect(number.locator(".quiz-why")).to_contain_text("No.")
    href = number.get_by_role("link", name="Read it again").get_attribute("href")
    assert href == (site / "modules" / "01-foundation" / "measuring-a-baseline.html").as_uri()
    assert [event["facts"]["event"] for event in log_of(page)] == ["answered"]


def test_cards_are_flipped_and_graded_by_key(page: Page, site: Path) -> None:
    go(page, site, "cards.html")
    expect(page.locator(".card-head")).to_contain_text("20 cards left")
    face = page.locator(".card-face")
    face.focus()
    expect(page.locator(".card-back")).to_have_text("")
    page.keyboard.press("Space")
    expect(page.locator(".card-back")).not_to_have_text("")
    page.keyboard.press("3")
    expect(page.locator(".card-head")).to_contain_text("19 cards left")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="1 again").click()
    expect(page.locator(".card-head")).to_contain_text("19 cards left")
    assert [(event["kind"], event["facts"]["grade"]) for event in log_of(page)] == [("card", 3), ("card", 1)]


def test_a_pages_cards_come_one_by_one_to_their_end(page: Page, site: Path) -> None:
    go(page, site, "modules/02-core-concepts/block-manager.html")
    count = page.evaluate("Object.values(course.cards).filter((card) => card.page === 'block-manager').length")
    for _ in range(count):
        page.get_by_role("button", name="Show the answer").click()
        page.get_by_role("button", name="4 easy").click()
    expect(page.locator("course-cards")).to_contain_text(f"Done: {count} cards reviewed.")


def test_a_prediction_is_asked_once_and_kept(page: Page, site: Path) -> None:
    go(page, site, "modules/02-core-concepts/block-manager.html")
    box = page.locator("course-prediction")
    expect(box).not_to_contain_text("31")
    box.get_by_label("Your prediction").fill("62 steps")
    box.get_by_role("button").click()
    expect(box).to_contain_text("You said 62 steps. It is 31 steps. 100% too high.")
    expect(box.locator("code").last).to_have_text("12")
    page.reload()
    expect(page.locator("course-prediction")).to_contain_text("You said 62 steps.")
    (event,) = [event for event in log_of(page) if event["kind"] == "prediction"]
    assert event["key"] == "modules/02-core-concepts/block-manager"
    assert event["facts"] == {"name": "evict", "predicted": 62, "actual": 31, "unit": "steps"}


def test_criteria_are_ticked_and_the_progress_page_shows_them(page: Page, site: Path) -> None:
    go(page, site, "modules/02-core-concepts/block-manager.html")
    page.locator("course-criteria input").first.check()
    page.locator("course-criteria input").nth(1).check()
    page.locator("course-criteria input").nth(1).uncheck()
    go(page, site, "progress.html")
    row = page.locator("course-progress tr", has_text="2 Core Concepts")
    expect(row.locator("td").last).to_have_text("1 of 5")


def test_the_time_on_a_page_is_noted_when_it_is_left(page: Page, site: Path) -> None:
    page.clock.install()
    go(page, site, "modules/02-core-concepts/block-manager.html")
    page.clock.fast_forward(90_000)
    go(page, site, "index.html")
    page.clock.fast_forward(90_000)
    go(page, site, "progress.html")
    (event,) = log_of(page)
    assert (event["kind"], event["key"]) == ("page", "modules/02-core-concepts/block-manager")
    assert 89 <= event["facts"]["seconds"] <= 95


def test_the_log_goes_to_the_terminal_and_back(page: Page, site: Path, browser: Browser, tmp_path: Path) -> None:
    go(page, site, "modules/02-core-concepts/block-manager.html")
    page.locator("course-criteria input").first.check()
    go(page, site, "progress.html")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    exported = tmp_path / "progress.jsonl"
    download.value.save_as(exported)
    passed = {"at": "2026-01-01T00:00:00.000Z", "facts": {"event": "passed"}, "key": "2.3", "kind": "exercise"}
    more = json.dumps(passed) + "\n"
    exported.write_text(more + exported.read_text(encoding="utf-8"), encoding="utf-8")
    for other in _page(browser, LIGHT):
        go(other, site, "progress.html")
        other.get_by_label("Import").set_input_files(exported)
        expect(other.locator(".progress-note")).to_have_text("2 new events.")
        expect(other.locator("course-progress tr", has_text="2 Core Concepts")).to_contain_text("1 of 7")
        assert other.evaluate("course.log.text()") == exported.read_text(encoding="utf-8")
        other.get_by_label("Import").set_input_files(exported)
        expect(other.locator(".progress-note")).to_have_text("0 new events.")
        broken = tmp_path / "broken.jsonl"
        broken.write_text("{}\n", encoding="utf-8")
        other.get_by_label("Import").set_input_files(broken)
        expect(other.locator(".progress-note")).to_have_text("broken.jsonl, line 1: not an event of a progress log")


@pytest.mark.parametrize("settings", [LIGHT, DARK, PHONE], ids=["light", "dark", "phone"])
def test_nothing_overflows(browser: Browser, site: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    for page in _page(browser, settings):
        for name in ("quiz", "some", "cards", "progress", "modules/02-core-concepts/block-manager"):
            go(page, site, f"{name}.html")
            page.locator("course-quiz, course-cards, course-progress").first.locator("> *").first.wait_for()
            if name == "quiz":
                answer(page, right=False)
            if name == "cards":
                page.get_by_role("button", name="Show the answer").click()
            wide = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{name} is {wide} pixels too wide"
