"""An engine as the HTTP client sees it. Services derive their own engines from it and add what they know of them."""

from __future__ import annotations

import ssl

from yarl import URL


class Target:
    """The address of an engine, its key, and the time of its last output."""

    __slots__ = ("_urls", "authorization", "base", "last_progress", "reason", "shown", "streams", "tls")

    def __init__(self, base: URL, *, shown: str, tls: ssl.SSLContext | None = None, authorization: str | None = None):
        self.base = base
        self.shown = shown
        """The name that clients see."""
        self.tls = tls
        """The context for an https:// base."""
        self.authorization = authorization
        """The Authorization header that it wants, None if it wants none of ours."""
        self.reason = ""
        """The reason why it is down or ejected, for the client and the log."""
        self.last_progress = 0.0
        """Time of its last output, or of its first request after an idle period; monotonic, seconds."""
        self.streams = 0
        """Number of answers that it is streaming now."""
        self._urls: dict[str, URL] = {}

    def url(self, path: str) -> URL:
        """Return the URL of a path. URLs are cached, as there are few and joining costs more than a look-up."""
        found = self._urls.get(path)
        if found is None:
            found = self._urls[path] = self.base.joinpath(path.lstrip("/"), encoded=True)
        return found

    def progressed(self, now: float) -> None:
        """Note that bytes of an answer arrived. This is called for every chunk."""
        self.last_progress = now
