"""Configuration reload: on SIGHUP, through the admin API, or when the content of a file has changed.

A reload applies completely or not at all. The new configuration is read and checked as at start. If it has an error, or
changes a setting that needs a restart, it is refused with the reason, and the old configuration stays.

LIVE names the settings that a running gateway can take over. All others need a restart: addresses to listen on, open
connections, fixed bounds. Classes can get other targets, bounds and shares, but not other names or priorities, as these
determine the order of waiting requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
    """The result of a reload."""

    result: Result
    changed: tuple[str, ...] = ()
    """Names of the settings that have changed."""
    reason: str = ""
    """The reason for a refusal."""


class Reloader:
    """Reloads the configuration. `load` reads and checks it and raises InvalidSettings; `apply` must not fail.

    `paths` is empty without a file to watch. A reload then reads the environment and the files that it names again.
    """

    def __init__(
        self,
        current: GatewaySettings,
        paths: Sequence[Path],
        load: Callable[[], GatewaySettings],
        apply: Callable[[GatewaySettings], None],
        *,
        count: Callable[[Result], None],
    ) -> None:
        self.current = current
        self._paths = paths
        self._load = load
        self._apply = apply
        self._count = count
        self._one_at_a_time = asyncio.Lock()
        self._seen = tuple(map(fingerprint, paths))

    async def watch(self, tick: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(POLL_SECONDS)) -> None:
        """Reload after each change of a file, until cancelled. `tick()` is awaited before each check."""
        while True:
            await tick()
            before, self._seen = self._seen, self._look()
            if self._seen != before:
                await self.reload()

    async def reload(self) -> Reload:
        """Reload now. Log and count the result, and return it."""
        async with self._one_at_a_time:
            self._seen = self._look()
            found = await self._try()
        if found.result == "refused":
            log.error("reload refused, the old configuration stays: %s", found.reason)
        else:
            log.warning("reload %s%s", found.result, f": {', '.join(found.changed)}" if found.changed else "")
        self._count(found.result)
        return found

    def _look(self) -> tuple[Fingerprint | None, ...]:
        return tuple(map(fingerprint, self._paths, self._seen))

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
    """The content of a file. Two fingerprints are equal if the content is, even if the file was rewritten."""

    stamp: tuple[int, int] = field(compare=False)
    """Modification time in nanoseconds, and size."""
    digest: bytes


def fingerprint(path: Path, last: Fingerprint | None = None) -> Fingerprint | None:
    """Return the fingerprint of a file, read only if its time or size changed. A missing file counts as unchanged."""
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        return last if last and last.stamp == stamp else Fingerprint(stamp, sha256(path.read_bytes()).digest())
    except OSError:
        return last


def obstacles(old: GatewaySettings, new: GatewaySettings) -> Iterator[str]:
    """Yield the reasons why a running gateway cannot take over the new settings."""
    frozen = [name for name in differences(old, new) if name not in LIVE]
    if frozen:
        yield f"{', '.join(frozen)}: a change needs a restart"
    if [(cls.name, cls.priority) for cls in old.classes] != [(cls.name, cls.priority) for cls in new.classes]:
        yield "classes: a change of names or priorities needs a restart"
    for name in moved(old.engines, new.engines):
        yield f"engines: {name} has a new url; give the new engine another name"


def differences(old: GatewaySettings, new: GatewaySettings) -> tuple[str, ...]:
    """Return the names of the top-level settings whose values differ."""
    return tuple(name for name in GatewaySettings.model_fields if getattr(old, name) != getattr(new, name))
