"""Pages of modules: what their front matter has to say, and what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.site.pages import PageError, module_pages

SLUG = "02-core-concepts"


def test_a_page_knows_its_topics_and_its_files(root: Path) -> None:
    (page,) = module_pages(root, SLUG)
    assert (page.title, page.module, page.topics, page.hours, page.stretch) == ("Why blocks", 2, (2, 3), 0.5, False)
    assert page.sources == (("services/engine/pool.py", "Pool.take"),)
    assert page.files == ("services/engine/pool.py",)


@pytest.mark.parametrize(
    ("order", "expected"), [("", ["b", "Why blocks", "a"]), ("order: 1\n", ["a", "b", "Why blocks"])]
)
def test_pages_come_in_their_order_or_that_of_their_topics(root: Path, order: str, expected: list[str]) -> None:
    for name, topics in (("a", [9]), ("b", [1, 12])):
        place = order if name == "a" else ""
        text = f"---\ntitle: {name}\nmodule: 2\ntopics: {topics}\nhours: 1\n{place}stretch: true\n---\n"
        (root / "docs" / "modules" / SLUG / f"{name}.md").write_text(text)
    assert [page.title for page in module_pages(root, SLUG)] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: Why blocks\n", ""), "title is None"),
        (("module: 2", "module: two"), "module is 'two'"),
        (("module: 2", "module: 3"), "module is 3"),
        (("topics: [2, 3]", "topics: []"), r"topics is \[\]"),
        (("hours: 0.5", "hours: 40"), "hours is 40"),
        (("hours: 0.5", "hours: 0.5\norder: first"), "order is 'first'"),
        (("hours: 0.5", "hours: ["), "front matter"),
        (("---\n", ""), "title is None"),
    ],
)
def test_a_rule_that_is_broken_is_named(root: Path, change: tuple[str, str], message: str) -> None:
    page = root / "docs" / "modules" / SLUG / "why-blocks.md"
    page.write_text(page.read_text().replace(*change))
    with pytest.raises(PageError, match=rf"docs/modules/{SLUG}/why-blocks\.md.*{message}"):
        module_pages(root, SLUG)
