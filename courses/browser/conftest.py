"""The built site, served, and a browser that complains: what tests that open pages need."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

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
SEARCH_WORKER = "assets/javascripts/workers/search.*.js"
"""Reads the index of the whole site on every page; a walk does without, and the tests of search have it."""
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
TOO_WIDE = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return null;
  const wide = [...document.querySelectorAll("main *")].filter((each) => each.getBoundingClientRect().right > most + 1);
  return wide.slice(0, 3).map((each) => each.tagName + "." + each.className).join(", ") || "something";
}"""


class Visitor:
    """A tab that opens pages of one address and collects what is wrong with them."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
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

    def look(self) -> None:
        """Note what is wider than the page as it is now."""
        if wide := self.page.evaluate(TOO_WIDE):
            self._complain(f"wider than the page, {self.page.viewport_size}: {wide}")

    def look_on_a_dark_phone(self) -> None:
        """Turn the open page into a phone's, in the dark, look, and turn it back."""
        self.page.set_viewport_size(PHONE)
        self.page.emulate_media(color_scheme="dark")
        self.look()
        self.page.set_viewport_size(DESKTOP)
        self.page.emulate_media(color_scheme="light")

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


class Served:
    """A site that is served, without what a test replaces in it."""

    def __init__(self, folder: Path, port: int, replaced: dict[str, bytes]) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"
        self._replaced = replaced

    def put(self, path: str, content: str, like: str) -> None:
        """Serve `content` at `path`, in the frame of the page `like` of the same folder."""
        text = (self.folder / like).read_text(encoding="utf-8")
        self._replaced[f"/{path}"] = ARTICLE.sub(lambda found: found[1] + content + found[2], text).encode()

    def without_search(self) -> Served:
        for worker in self.folder.glob(SEARCH_WORKER):
            self._replaced[f"/{worker.relative_to(self.folder).as_posix()}"] = b""
        return self


Serve = Callable[[Path], Served]


@pytest.fixture(scope="session")
def site() -> Path:
    """Return the folder of the site that MkDocs built."""
    return build.SITES["mkdocs"]


@pytest.fixture(scope="session")
def zensical_site() -> Path:
    """Return the folder of the site that zensical built."""
    return build.SITES["zensical"]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Return a function that serves a folder at an address of its own until the tests end."""
    with ExitStack() as stack:

        def start(folder: Path) -> Served:
            replaced: dict[str, bytes] = {}
            handler = functools.partial(_Handler, directory=str(folder), replaced=replaced)
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return Served(folder, server.server_port, replaced)

        yield start


@pytest.fixture(scope="session")
def address(site: Path, serve: Serve) -> str:
    """Return the address of the site that MkDocs built."""
    return serve(site).address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "no Chromium; tools/debian-packages installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Return a function that opens a tab: `visitor(address, width=390, dark=True)`."""
    with ExitStack() as stack:

        def start(address: str, *, width: int = DESKTOP["width"], dark: bool = False) -> Visitor:
            scheme: Literal["dark", "light"] = "dark" if dark else "light"
            viewport: ViewportSize = {"width": width, "height": DESKTOP["height"]}
            context = browser.new_context(viewport=viewport, color_scheme=scheme, base_url=f"{address}/")
            stack.callback(context.close)
            return Visitor(context.new_page(), address)

        yield start


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder whose files stay as they are: a browser keeps its connection and what it has read."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *request: Any, directory: str, replaced: dict[str, bytes]) -> None:
        self._replaced = replaced
        with suppress(ConnectionError):  # a tab that is closed hangs up
            super().__init__(*request, directory=directory)

    def do_GET(self) -> None:
        """Serve what a test put there, else the file."""
        if (content := self._replaced.get(self.path)) is None:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def end_headers(self) -> None:
        """Let the browser keep the file."""
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""
