"""Serving the application with uvicorn. SIGTERM and SIGINT drain it: it refuses new requests and finishes running ones.

If the engine's thread dies, the process exits with status 1, so that a supervisor restarts it.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from llm_contract import logs

DEATH_GRACE_SECONDS = 3.0
"""Time from the engine's death to the exit, in which clients get their errors and /health can be read."""


SWITCH_INTERVAL_SECONDS = 0.0005
"""Longest time that a thread that formats an answer keeps the interpreter lock from the engine's thread, which needs it
about ten times per step. With Python's default of 5 ms each of these waits could be longer than a step."""


class DrainingServer(uvicorn.Server):
    """A server that drains on a signal, ends after the engine's death, and prints a banner with its address."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, banner: str) -> None:
        super().__init__(config)
        self._app = app
        self._banner = banner

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                logs.announce(f"{self._banner} on http://{host}:{port}")

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server has to end. uvicorn calls this ten times a second."""
        self._app.state.engine.check()
        died_at = self._app.state.engine.died_at
        is_over = died_at is not None and time.monotonic() - died_at > DEATH_GRACE_SECONDS
        return await super().on_tick(counter) or is_over

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.draining = True
        super().handle_exit(sig, frame)


def serve(app: FastAPI, host: str, port: int, shutdown_timeout: float, *, banner: str) -> int:
    """Serve until a signal arrives or the engine dies. Return the exit status: 0, or 1 if the engine died.

    `port` 0 takes a free one, which the banner shows.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # its lines go where ours go, in the same format
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(shutdown_timeout)),
    )
    gc.freeze()  # loaded objects stay, so collections can skip them while streams wait
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    # uvicorn raises the signal again after shutdown. Ignore it: a drained server ends with status 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    DrainingServer(config, app, banner).run()
    return 0 if app.state.engine.died_at is None else 1
