"""Configuration reload: on SIGHUP, through the admin API, or when the file's content has changed.

All of it or nothing. The new configuration is read and checked as at start; if anything is wrong with it, or it changes
a setting that only a restart can change, it is refused with the reason, and the gateway goes on with what it has.

LIVE names what a running gateway can take over. Whatever is not in it needs a restart: an address it listens on, a
connection that is set up, a bound that was built in. Classes may get other targets, bounds and shares, but not other
names or priorities: those who wait have their place in the order from them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

from llm_contract.settings import InvalidSettings
from llm_gateway.engines.changes import moved
from llm_gateway.settings import GatewaySettings

LIVE = frozenset({"aliases", "classes", "default_class", "engines", "require_keys", "tenants"})

POLL_SECONDS = 2.0

log = logging.getLogger(__name__)

Result = Literal["applied", "unchanged", "refused"]


@dataclass(frozen=True, slots=True)
class Reload:
    result: Result
    changed: tuple[str, ...] = ()
    """Names of the settings that differ from before."""
    reason: str = ""
    """Why it was refused."""


class Reloader:
    """`load` reads and checks, raising InvalidSettings; `apply` must not fail: everything was checked before.

    `path` is None when there is no file to watch; a reload then takes up what the environment and the files that it
    names say now.
    """

    def __init__(
        self,
        current: GatewaySettings,
        path: Path | None,
        load: Callable[[], GatewaySettings],
        apply: Callable[[GatewaySettings], None],
        *,
        count: Callable[[Result], None],
    ) -> None:
        self.current = current
        self._path = path
        self._load = load
        self._apply = apply
        self._count = count
        self._one_at_a_time = asyncio.Lock()
        self._seen = fingerprint(path)

    async def watch(self, tick: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(POLL_SECONDS)) -> None:
        """Never returns. `tick()` is awaited before each look at the file."""
        while True:
            await tick()
            before, self._seen = self._seen, fingerprint(self._path, self._seen)
            if self._seen != before:
                await self.reload()

    async def reload(self) -> Reload:
        """Logs and counts what came of it."""
        async with self._one_at_a_time:
            self._seen = fingerprint(self._path, self._seen)
            found = await self._try()
        if found.result == "refused":
            log.error("reload refused, going on as before: %s", found.reason)
        else:
            log.warning("reload %s%s", found.result, f": {', '.join(found.changed)}" if found.changed else "")
        self._count(found.result)
        return found

    async def _try(self) -> Reload:
        try:
            settings = await asyncio.to_thread(self._load)
        except InvalidSettings as error:
            return Reload("refused", reason=str(error))
        changed = differences(self.current, settings)
        if reasons := list(obstacles(self.current, settings)):
            return Reload("refused", changed, "; ".join(reasons))
        if not changed:
            return Reload("unchanged")
        self._apply(settings)
        self.current = settings
        return Reload("applied", changed)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The content of a file. Two are equal if the content is, however often it was written in between."""

    stamp: tuple[int, int] = field(compare=False)
    """Time of the last change in nanoseconds, and size."""
    digest: bytes


def fingerprint(path: Path | None, last: Fingerprint | None = None) -> Fingerprint | None:
    """The file is read only if its time or its size is not that of `last`. A file that is gone is as it was."""
    if path is None:
        return None
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        return last if last and last.stamp == stamp else Fingerprint(stamp, sha256(path.read_bytes()).digest())
    except OSError:
        return last


def obstacles(old: GatewaySettings, new: GatewaySettings) -> Iterator[str]:
    """Why a running gateway cannot go from one to the other; nothing if it can."""
    frozen = [name for name in differences(old, new) if name not in LIVE]
    if frozen:
        yield f"{', '.join(frozen)}: needs a restart to change"
    if [(cls.name, cls.priority) for cls in old.classes] != [(cls.name, cls.priority) for cls in new.classes]:
        yield "classes: names and priorities need a restart to change"
    for name in moved(old.engines, new.engines):
        yield f"engines: {name} has another url now; give the new engine a name of its own"


def differences(old: GatewaySettings, new: GatewaySettings) -> tuple[str, ...]:
    """Names of top-level settings with another value."""
    return tuple(name for name in GatewaySettings.model_fields if getattr(old, name) != getattr(new, name))
