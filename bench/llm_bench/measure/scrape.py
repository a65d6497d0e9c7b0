"""Scrapes of the server's `/metrics` during the load. Pages are kept as bytes and parsed after the run."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from time import perf_counter
from urllib.parse import urlsplit

import gevent

from llm_bench.client.credentials import NO_CREDENTIALS, Credentials
from llm_bench.client.target import Target, authorized
from llm_bench.measure.histograms import parse_exposition
from llm_bench.measure.server_metrics import WANTED, ServerMetrics, merge, read_scrapes
from llm_bench.measure.summary import ClassFigures

INTERVAL = 0.5
"""Seconds between scrapes."""
TIMEOUT = 2.0
"""Seconds for a whole page."""
LARGEST_PAGE = 32 << 20
"""Bytes."""


class Scraper:
    """A scraper of every metrics address; a scrape that fails leaves a gap."""

    def __init__(
        self, target: Target, addresses: Sequence[str] = (), credentials: Credentials = NO_CREDENTIALS
    ) -> None:
        """Scrape `addresses`, by default the target's own `/metrics`. Only the target gets its key."""
        self.addresses = list(addresses) or [f"{target.url}/metrics"]
        self._target, self._authorization = urlsplit(target.url), credentials.header()
        self._scrapes: list[tuple[float, list[list[bytes]]]] = []
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def scrape(self) -> bool:
        """Scrape every address once; return whether each answered with a known metric."""
        at = perf_counter()
        pages = [self._get(address) for address in self.addresses]
        if not all(pages):
            return False
        self._scrapes.append((at, pages))
        return True

    def watch(self) -> None:
        """Run next to the load until it is killed."""
        while True:
            gevent.sleep(INTERVAL)
            self.scrape()

    def read(self, epoch: float, figures: ClassFigures) -> ServerMetrics | None:
        """Parse the scrapes and compare them with `figures`, the client's figures of all requests.

        `epoch`: the run's time 0 on the clock of `perf_counter`.
        """
        merged = [(at - epoch, merge([parse_exposition(page) for page in pages])) for at, pages in self._scrapes]
        return read_scrapes(self.addresses, merged, figures)

    def _get(self, address: str) -> list[bytes]:
        try:
            with (
                gevent.Timeout(TIMEOUT, TimeoutError("the metrics took too long")),
                self._opener.open(self._request(address), timeout=TIMEOUT) as answer,
            ):
                return [line for line in answer.read(LARGEST_PAGE).split(b"\n") if line.startswith(WANTED)]
        except (OSError, ValueError, HTTPException):
            return []

    def _request(self, address: str) -> urllib.request.Request:
        parts = urlsplit(address)
        is_target = (parts.scheme, parts.netloc) == (self._target.scheme, self._target.netloc)
        return authorized(address, self._authorization if is_target else None)
