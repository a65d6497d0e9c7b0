"""The built site, served, and a browser that complains: what tests that open pages need."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import (
    Browser,  # pants: no-infer-dep
    ConsoleMessage,  # pants: no-infer-dep
    Page,  # pants: no-infer-dep
    Request,  # pants: no-infer-dep
    Response,  # pants: no-infer-dep
    ViewportSize,  # pants: no-infer-dep
    sync_playwright,  # pants: no-infer-dep
)

from llm_course.site import build

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARTICLE = re.compile(r"(<article[^>]*>).*(</article>)", re.DOTALL)
OWN_SCHEMES = ("data:", "blob:", "about:")
SEARCH_WORKER = "**/workers/search.*.js"
"""Reads the index of the whole site on every page; a walk does without, and the tests of search have it."""
TOO_WIDE = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return null;
  const wide = [...document.querySelectorAll("main *")].filter((each) => each.getBoundingClientRect().right > most + 1);
  return wide.slice(0, 3).map((each) => each.tagName + "." + each.className).join(", ") || "something";
}"""


class Visitor:
    """A tab that opens pages of one address and collects what is wrong with them."""

    def __init__(self, page: Page, address: str, site: Path) -> None:
        self.page = page
        self._site = site
        self.complaints: list[str] = []
        self._address = address.rstrip("/")
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._complain(f"error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def open(self, path: str) -> Page:
        """Open a page of the site, wait until its own scripts are done, and note what overflows."""
        self.page.goto(f"{self._address}/{path}", wait_until="load")
        self.page.wait_for_function("() => window.course && window.course.isReady")
        self.look()
        return self.page

    def put(self, path: str, content: str, like: str) -> None:
        """Show `content` at `path` from now on, in the frame of the page `like` of the same folder."""
        text = (self._site / like).read_text(encoding="utf-8")
        body = ARTICLE.sub(lambda found: found[1] + content + found[2], text)
        self.page.route(f"{self._address}/{path}", lambda route: route.fulfill(body=body, content_type="text/html"))

    def look(self) -> None:
        """Note what is wider than the page as it is now."""
        if wide := self.page.evaluate(TOO_WIDE):
            self._complain(f"wider than the page, {self.page.viewport_size}: {wide}")

    def without_search(self) -> Visitor:
        self.page.route(SEARCH_WORKER, lambda route: route.fulfill(body="", content_type="text/javascript"))
        return self

    def _complain(self, text: str) -> None:
        self.complaints.append(f"{self.page.url.removeprefix(self._address)}: {text}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complain(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._address, *OWN_SCHEMES)):
            self._complain(f"request to {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # left behind by going on to the next page
            self._complain(f"request failed: {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._complain(f"status {response.status}: {response.url}")


@pytest.fixture(scope="session")
def site() -> Path:
    """Return the folder of the site that MkDocs built."""
    return build.SITES["mkdocs"]


@pytest.fixture(scope="session")
def zensical_site() -> Path:
    """Return the folder of the site that zensical built."""
    return build.SITES["zensical"]


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder until the tests end and returns its address."""
    with ExitStack() as stack:

        def start(folder: Path) -> str:
            handler = functools.partial(_Quiet, directory=str(folder))
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture(scope="session")
def address(site: Path, serve: Callable[[Path], str]) -> str:
    """Return the address of the site that MkDocs built."""
    return serve(site)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "no Chromium; tools/debian-packages installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visitor(browser: Browser, site: Path) -> Iterator[Callable[..., Visitor]]:
    """Return a function that opens a tab: `visitor(address, width=390, dark=True)`."""
    with ExitStack() as stack:

        def start(address: str, *, width: int = 1280, dark: bool = False) -> Visitor:
            scheme: Literal["dark", "light"] = "dark" if dark else "light"
            viewport: ViewportSize = {"width": width, "height": 900}
            context = browser.new_context(viewport=viewport, color_scheme=scheme, base_url=f"{address}/")
            stack.callback(context.close)
            return Visitor(context.new_page(), address, site)

        yield start


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""
