"""Notifications, and the interface of all receivers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import aiohttp

from llm_monitor.alerts.state import Alert

TIMEOUT: Final = 10.0


class DeliveryError(Exception):
    """A notification did not arrive. `final`: another attempt would not either."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True, slots=True)
class Notification:
    group: tuple[tuple[str, str], ...]
    """Labels that all of its alerts share, by which they were grouped."""
    alerts: tuple[Alert, ...]
    """Firing and resolved ones."""
    at: float
    external_url: str = ""

    @property
    def firing(self) -> list[Alert]:
        return [alert for alert in self.alerts if alert.state == "firing"]

    @property
    def resolved(self) -> list[Alert]:
        return [alert for alert in self.alerts if alert.state == "resolved"]

    @property
    def title(self) -> str:
        name = dict(self.group).get("alertname") or "alerts"
        state = f"FIRING:{len(self.firing)}" if self.firing else "RESOLVED"
        return f"[{state}] {name}"

    def lines(self) -> list[str]:
        """Return a line for each alert: its state, what is the matter, and where the runbook is."""
        return [
            f"{alert.state}: {alert.annotations.get('summary', alert.name)}"
            + (f" ({runbook})" if (runbook := alert.annotations.get("runbook", "")) else "")
            for alert in (*self.firing, *self.resolved)
        ]


class Receiver(Protocol):
    grouped: bool
    """Whether it gets notifications of groups; else all alerts, again every `resend` seconds."""
    resend: float

    async def send(self, notification: Notification) -> None:
        """Deliver, within seconds. Raises DeliveryError."""


async def post(session: aiohttp.ClientSession, url: str, body: object, *, name: str) -> None:
    """POST JSON; errors do not show the URL, as it can be a secret. Raises DeliveryError."""
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with session.post(url, json=body, timeout=timeout, allow_redirects=False) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise DeliveryError(
            f"{name} does not answer: {type(error).__name__}", final=isinstance(error, ValueError)
        ) from None
    if status >= 300:
        retry = status >= 500 or status == 429
        raise DeliveryError(f"{name} answers {status}", final=not retry)


def secret(path: Path) -> str:
    """Return the content of a secret's file, read at each delivery, as it can change. Raises DeliveryError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(f"{path} cannot be read: {error}") from None


def timestamp(at: float | None) -> str:
    """Return RFC 3339; year 1 stands for no time, as in Go."""
    moment = datetime(1, 1, 1, tzinfo=UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return moment.isoformat().replace("+00:00", "Z")
