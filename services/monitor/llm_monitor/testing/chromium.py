"""A headless Chromium, driven by its DevTools protocol: https://chromedevtools.github.io/devtools-protocol/

async with chromium() as browser:
    tab = await browser.tab("http://127.0.0.1:9600/", width=1440, height=900, dark=False)
    assert tab.complaints == []
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--remote-debugging-port=0",
)
START_SECONDS = 60.0
CALL_SECONDS = 60.0
POLL_SECONDS = 0.05
MAX_MESSAGE = 64 * 1024 * 1024


class PageError(RuntimeError):
    """The page's script raised, or the browser refused a command."""


class Tab:
    """A page; `complaints` has every error of its console, every exception and every failed request."""

    def __init__(self, browser: Browser, session: str, address: str) -> None:
        self._browser = browser
        self._session = session
        self._address = address
        self.complaints: list[str] = []
        self.bytes_by_url: dict[str, int] = {}
        self._urls: dict[str, str] = {}
        self._loaded = asyncio.Event()

    async def call(self, method: str, **parameters: Any) -> Any:
        return await self._browser.call(method, self._session, **parameters)

    async def goto(self, url: str) -> None:
        self._loaded.clear()
        if problem := (await self.call("Page.navigate", url=url)).get("errorText"):
            raise PageError(f"{url}: {problem}")
        async with asyncio.timeout(CALL_SECONDS):
            await self._loaded.wait()

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression, awaited if it is a promise. Raises PageError."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if problem := answer.get("exceptionDetails"):
            raise PageError(problem.get("exception", {}).get("description") or problem["text"])
        return answer["result"].get("value")

    async def until(self, condition: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not await self.evaluate(f"Boolean({condition})"):  # noqa: ASYNC110  another process decides
                await asyncio.sleep(POLL_SECONDS)

    async def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        is_phone = width < 640
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if is_phone else 1,
            mobile=is_phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def press(self, key: str) -> None:
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")

    async def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point, move it to another, and let go."""
        steps = (("mouseMoved", start), ("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end))
        for kind, (x, y) in steps:
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def take(self, method: str, event: dict[str, Any]) -> None:
        """Take an event of this page."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {event['exceptionDetails'].get('exception', {}).get('description')}")
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
            self.complaints.append(f"console: {[one.get('value') for one in event['args']]}")
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.complaints.append(f"log: {event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self._request(event["requestId"], event["request"]["url"])
        elif method == "Network.loadingFinished":
            url = self._urls.get(event["requestId"], "")
            self.bytes_by_url[url] = self.bytes_by_url.get(url, 0) + int(event["encodedDataLength"])

    def _request(self, number: str, url: str) -> None:
        self._urls[number] = url
        if not url.startswith((self._address, "data:", "blob:")):
            self.complaints.append(f"request to {url}")


class Browser:
    """A running Chromium."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tabs: dict[str, Callable[[str, dict[str, Any]], None]] = {}

    async def tab(self, url: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Tab:
        """Open a page and wait until it has loaded."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        origin = "/".join(url.split("/", 3)[:3])
        tab = Tab(self, attached["sessionId"], origin)
        self._tabs[attached["sessionId"]] = tab.take
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.call(f"{domain}.enable")
        await tab.resize(width, height, dark=dark)
        await tab.goto(url)
        return tab

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(command | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(CALL_SECONDS):
            return await answer

    async def listen(self) -> None:
        """Read answers and events until the browser ends."""
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                continue
            data = message.json()
            if (future := self._answers.pop(data.get("id", 0), None)) is not None:
                if future.cancelled():
                    continue
                if "error" in data:
                    future.set_exception(PageError(data["error"]["message"]))
                else:
                    future.set_result(data["result"])
            elif (take := self._tabs.get(data.get("sessionId", ""))) is not None:
                take(data["method"], data["params"])


def program() -> str:
    """Return the path of an installed Chromium. Raises FileNotFoundError."""
    if (found := next(filter(None, map(shutil.which, PROGRAMS)), None)) is None:
        raise FileNotFoundError(f"no Chromium: none of {', '.join(PROGRAMS)} is installed")
    return found


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """Start Chromium with a profile of its own, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program(),
            *FLAGS,
            *flags,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await _address(Path(profile) / "DevToolsActivePort", process)
            async with ClientSession() as session, session.ws_connect(address, max_msg_size=MAX_MESSAGE) as socket:
                browser = Browser(socket)
                listening = asyncio.create_task(browser.listen())
                try:
                    yield browser
                finally:
                    listening.cancel()
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _address(file: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(START_SECONDS):
        while True:
            lines = _lines(file)
            if len(lines) > 1:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            if process.returncode is not None:
                raise RuntimeError(f"Chromium ended with status {process.returncode}")
            await asyncio.sleep(POLL_SECONDS)


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
