"""Quizzes, cards, predictions, criteria and progress in Chromium, each on a page of its own in the site's frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect  # pants: no-infer-dep

Visit = Callable[..., Any]
"""conftest's `visitor`."""
BLOCKS = "modules/02-core-concepts/block-manager.html"
PAGES = {
    "quiz.html": '<div><course-quiz module="2"></course-quiz></div>',
    "some.html": '<div><course-quiz module="1" ids="tpot,code-top-p"></course-quiz></div>',
    "cards.html": "<div><course-cards></course-cards></div>\n",
    "progress.html": "<div><course-progress></course-progress></div>\n",
    BLOCKS: (
        '<div><course-prediction name="evict" ask="After how many `steps`?" answer="31" unit="steps" '
        'why="The pool has `12` blocks."></course-prediction></div>'
        '<div><course-cards page="block-manager"></course-cards></div>'
        '<div><course-criteria module="2"></course-criteria></div>'
    ),
}


@pytest.fixture(scope="module")
def address(site: Path, serve: Callable[[Path], Any]) -> str:
    """Return the address of the site with PAGES in it."""
    served = serve(site)
    for path, content in PAGES.items():
        served.put(path, content, like=path if "/" in path else "glossary.html")
    return str(served.without_search().address)


@pytest.fixture
def open_walk(visitor: Visit, address: str) -> Iterator[Callable[[], Any]]:
    """Return a function that opens a browser of its own."""
    walks: list[Any] = []

    def start() -> Any:
        walks.append(visitor(address))
        return walks[-1]

    yield start
    assert [complaint for walk in walks for complaint in walk.complaints] == []


@pytest.fixture
def page(open_walk: Callable[[], Any]) -> Page:
    page: Page = open_walk().page
    return page


def go(page: Page, path: str) -> None:
    page.goto(path)


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


def test_a_quiz_is_failed_and_then_passed(page: Page) -> None:
    go(page, "quiz.html")
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


def test_a_reload_goes_on_and_counts_nothing_twice(page: Page) -> None:
    go(page, "quiz.html")
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


def test_some_questions_have_no_score(page: Page, address: str) -> None:
    go(page, "some.html")
    expect(page.locator(".quiz-question")).to_have_count(2)
    number = page.locator('[data-question="tpot"]')
    number.get_by_label("Your answer").fill("about ten")
    number.get_by_role("button", name="Check").click()
    expect(number.locator(".quiz-why")).to_have_text("Write a number.")
    number.get_by_label("Your answer").fill("0")
    number.get_by_role("button", name="Check").click()
    expect(number.locator(".quiz-why")).to_contain_text("No.")
    href = number.get_by_role("link", name="Read it again").get_attribute("href")
    assert href == f"{address}/modules/01-foundation/measuring-a-baseline.html"
    assert [event["facts"]["event"] for event in log_of(page)] == ["answered"]


def test_cards_are_flipped_and_graded_by_key(page: Page) -> None:
    go(page, "cards.html")
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


def test_a_pages_cards_come_one_by_one_to_their_end(page: Page) -> None:
    go(page, BLOCKS)
    count = page.evaluate("Object.values(course.cards).filter((card) => card.page === 'block-manager').length")
    for _ in range(count):
        page.get_by_role("button", name="Show the answer").click()
        page.get_by_role("button", name="4 easy").click()
    expect(page.locator("course-cards")).to_contain_text(f"Done: {count} cards reviewed.")


def test_a_prediction_is_asked_once_and_kept(page: Page) -> None:
    go(page, BLOCKS)
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


def test_criteria_are_ticked_and_the_progress_page_shows_them(page: Page) -> None:
    go(page, BLOCKS)
    page.locator("course-criteria input").first.check()
    page.locator("course-criteria input").nth(1).check()
    page.locator("course-criteria input").nth(1).uncheck()
    go(page, "progress.html")
    row = page.locator("course-progress tr", has_text="2 Core Concepts")
    expect(row.locator("td").last).to_have_text("1 of 5")


def test_the_time_on_a_page_is_noted_when_it_is_left(page: Page) -> None:
    page.clock.install()
    go(page, BLOCKS)
    page.clock.fast_forward(90_000)
    go(page, "index.html")
    page.clock.fast_forward(90_000)
    go(page, "progress.html")
    (event,) = log_of(page)
    assert (event["kind"], event["key"]) == ("page", "modules/02-core-concepts/block-manager")
    assert 89 <= event["facts"]["seconds"] <= 95


def test_the_log_goes_to_the_terminal_and_back(page: Page, open_walk: Callable[[], Any], tmp_path: Path) -> None:
    go(page, BLOCKS)
    page.locator("course-criteria input").first.check()
    go(page, "progress.html")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    exported = tmp_path / "progress.jsonl"
    download.value.save_as(exported)
    passed = {"at": "2026-01-01T00:00:00.000Z", "facts": {"event": "passed"}, "key": "2.3", "kind": "exercise"}
    more = json.dumps(passed) + "\n"
    exported.write_text(more + exported.read_text(encoding="utf-8"), encoding="utf-8")
    other: Page = open_walk().page
    go(other, "progress.html")
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


def test_nothing_overflows(open_walk: Callable[[], Any]) -> None:
    walk = open_walk()
    page: Page = walk.page
    for name in PAGES:
        go(page, name)
        page.locator("course-quiz, course-cards, course-progress").first.locator("> *").first.wait_for()
        if name == "quiz.html":
            answer(page, right=False)
        if name == "cards.html":
            page.get_by_role("button", name="Show the answer").click()
        walk.look()
        walk.look_on_a_dark_phone()
