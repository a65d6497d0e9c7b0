"""Every page in a browser: no error in the console, no request that fails or leaves the site, no sideways scrolling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Visit = Callable[..., Any]
"""conftest's `visitor`."""


def pages(site: Path) -> list[str]:
    return sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html") if file.name != "404.html")


def written(site: Path) -> list[str]:
    """Return the pages that people wrote, whose elements and scripts matter most."""
    return [page for page in pages(site) if not page.startswith("generated")]


def test_every_page_is_clean_on_a_desktop_on_a_phone_and_in_the_dark(site: Path, address: str, visitor: Visit) -> None:
    walk = visitor(address).without_search()
    for page in pages(site):
        walk.page.set_viewport_size({"width": 1280, "height": 900})
        walk.open(page)
        walk.page.set_viewport_size({"width": 390, "height": 844})
        walk.page.evaluate("() => { document.body.dataset.mdColorScheme = 'slate'; }")
        walk.look()
    assert walk.complaints == []


def test_every_written_page_opens_cleanly_on_a_dark_phone(site: Path, address: str, visitor: Visit) -> None:
    walk = visitor(address, width=390, dark=True).without_search()
    for page in written(site):
        walk.open(page)
    assert walk.complaints == []


def test_pages_work_from_a_file_too(site: Path, visitor: Visit) -> None:
    walk = visitor(site.as_uri())
    for page in written(site):
        walk.open(page)
    assert walk.complaints == []


def test_zensical_pages_are_clean(zensical_site: Path, serve: Callable[[Path], str], visitor: Visit) -> None:
    walk = visitor(serve(zensical_site), width=390)
    for page in written(zensical_site):
        walk.open(page)
    assert walk.complaints == []


@pytest.mark.parametrize("by", ["http", "file"])
def test_search_finds_a_page(site: Path, address: str, visitor: Visit, by: str) -> None:
    walk = visitor(address if by == "http" else site.as_uri())
    page = walk.open("index.html")
    page.click(".md-search__input")
    page.keyboard.type("coordinated omission")
    page.wait_for_selector(".md-search-result__item")
    assert "Glossary" in page.inner_text(".md-search-result__list")
    assert walk.complaints == []


def test_formulas_and_diagrams_are_drawn_and_follow_the_colours(address: str, visitor: Visit) -> None:
    walk = visitor(address)
    page = walk.open("modules/02-core-concepts/why-the-kv-cache-is-paged.html")
    assert page.locator(".arithmatex .katex-html").count() >= 2
    assert page.locator(".katex-error").count() == 0
    page = walk.open("course/how-to.html")
    light = page.inner_html(".diagram svg")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(light) => document.querySelector('.diagram svg')?.innerHTML !== light", arg=light)
    assert walk.complaints == []


def test_the_code_bar_leads_to_the_line_in_its_file(address: str, visitor: Visit) -> None:
    walk = visitor(address)
    page = walk.open("modules/02-core-concepts/why-the-kv-cache-is-paged.html")
    page.click(".source-link >> nth=0")
    page.wait_for_selector("span[id^='L-']:target")
    assert "def allocate" in page.inner_text("span[id^='L-']:target")
    assert walk.complaints == []
