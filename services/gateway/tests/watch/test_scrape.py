from __future__ import annotations

from llm_contract.errors import ErrorKind
from llm_contract.testing import ScriptedEngine
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.testing import RunningGateway
from llm_gateway.watch.scrape import SignalScraper
from llm_proxy.upstream.client import EngineError

GOOD = b"vllm:num_requests_running 2\nvllm:num_requests_waiting 1\n"


class Pages:
    """A stand-in for the HTTP client. /metrics gives these answers in order."""

    def __init__(self, *pages: tuple[int, bytes] | None) -> None:
        self._pages = list(pages)

    async def fetch(self, engine: Engine, method: str, path: str, timeout: float) -> tuple[int, bytes]:
        assert (method, path, timeout) == ("GET", "/metrics", 2.0)
        page = self._pages.pop(0)
        if page is None:
            raise EngineError(engine, "headers", ErrorKind.ENGINE_FAILED, "no answer in time", retryable=False)
        return page


async def test_what_is_stale_is_not_used() -> None:
    pool = EnginePool([EngineSettings(url="http://e")])
    engine = pool.engines[0]
    pages = Pages((200, GOOD), None, (200, GOOD), (404, GOOD), (200, b"python_info 1\n"))
    scraper = SignalScraper(pool, pages, 1.0, lambda: 7.0)  # type: ignore[arg-type]
    found = []
    for _ in range(5):
        await scraper.scrape(engine)
        found.append(engine.signals and (engine.signals.time, engine.signals.running, engine.signals.waiting))
    assert found == [(7.0, 2, 1), None, (7.0, 2, 1), None, None]


async def test_the_gateway_scrapes_its_engines() -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, signals_interval=0.02) as gateway:
        only = gateway.parts.pool.engines[0]
        assert only.signals is not None
        first = only.signals
        await gateway.until(lambda _: only.signals is not first)
        await engine.stop()
        await gateway.until(lambda _: only.signals is None)
