"""Every page in a browser: no error in the console, no request that fails or leaves the site, no sideways scrolling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Visit = Callable[..., Any]
"""conftest's `visitor`."""


Serve = Callable[[Path], Any]
"""conftest's `serve`."""
FILE_OF_CODE = 'class="highlight source-file"'
"""In the copies of code, which differ in their article only and have nothing that a script works on."""
SHOW_EACH = """async (paths) => {
  const shared = (page) => [...page.querySelectorAll("script[src], link[rel=stylesheet]")]
    .map((each) => (each.getAttribute("src") || each.getAttribute("href")).split("/").pop()).join();
  const mine = shared(document);
  const faults = [];
  for (const path of paths) {
    const text = await (await fetch("/" + path)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    if (shared(page) !== mine) faults.push(path + ": other scripts or styles than the first one's");
    for (const part of ["header", "article"]) document.querySelector(part).replaceWith(page.querySelector(part));
    if (document.documentElement.scrollWidth > document.documentElement.clientWidth) faults.push(path + ": too wide");
  }
  return faults;
}"""


def pages(site: Path) -> list[str]:
    return sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html") if file.name != "404.html")


def written(site: Path) -> list[str]:
    """Return the pages that people wrote, whose elements and scripts matter most."""
    return [page for page in pages(site) if not page.startswith("generated")]


def code_copies(site: Path) -> list[str]:
    return [page for page in pages(site) if FILE_OF_CODE in (site / page).read_text(encoding="utf-8")]


def test_every_page_is_clean_on_a_desktop_and_on_a_dark_phone(site: Path, serve: Serve, visitor: Visit) -> None:
    walk = visitor(serve(site).without_search().address)
    copies = code_copies(site)
    for page in sorted({*pages(site)} - {*copies[1:]}):
        walk.open(page)
        walk.look_on_a_dark_phone()
    assert walk.complaints == []


@pytest.mark.parametrize("settings", [{}, {"width": 390, "dark": True}], ids=["desktop", "phone"])
def test_every_copy_of_code_fits_into_the_frame_of_the_first(
    site: Path, serve: Serve, visitor: Visit, settings: dict[str, Any]
) -> None:
    walk = visitor(serve(site).without_search().address, **settings)
    copies = code_copies(site)
    assert walk.open(copies[0]).evaluate(SHOW_EACH, copies) == []
    assert walk.complaints == []


def test_pages_open_on_a_dark_phone_and_from_a_file_too(site: Path, visitor: Visit) -> None:
    walk = visitor(site.as_uri(), width=390, dark=True)
    walk.page.route("**/workers/search.*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    for page in written(site):
        walk.open(page)
    assert walk.complaints == []


def test_zensical_pages_are_clean(zensical_site: Path, serve: Serve, visitor: Visit) -> None:
    served = serve(zensical_site)
    walk = visitor(served.address, width=390)
    walk.open("index.html")
    served.without_search()
    for page in written(zensical_site):
        walk.open(page)
    assert walk.complaints == []


@pytest.mark.parametrize("by", ["http", "file"])
def test_search_finds_a_page(site: Path, address: str, visitor: Visit, by: str) -> None:
    walk = visitor(address if by == "http" else site.as_uri())
    page = walk.open("index.html")
    page.click(".md-search__input")
    page.keyboard.type("coordinated omission")
    # The page hears a key once its script runs, which can be after the typing. A visitor would press another one.
    page.wait_for_function("""() => {
            const again = new KeyboardEvent("keyup", {bubbles: true});
            document.querySelector(".md-search__input").dispatchEvent(again);
            return document.querySelector(".md-search-result__item");
        }""")
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


def test_paper_has_the_folded_answers_and_both_tabs(site: Path, serve: Serve, visitor: Visit) -> None:
    page = visitor(serve(site).without_search().address).open("modules/02-core-concepts/continuous-batching.html")
    page.emulate_media(media="print")
    answers = page.locator("article details > p")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert answers.count() >= 3
    assert all(answer.is_visible() for answer in answers.all())
    assert all(tab.is_visible() for tab in page.locator(".tabbed-block").all())
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(answer.is_visible() for answer in answers.all())
