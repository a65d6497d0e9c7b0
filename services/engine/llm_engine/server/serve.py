"""Runs the application on uvicorn. SIGTERM and SIGINT drain: no new work, what runs is finished, then the end.

When the engine's thread dies, the process ends with a status that makes a supervisor start it again.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

DEATH_GRACE_SECONDS = 3.0
"""From the engine's death to the end of the process: clients get their errors, and /health can be read."""


SWITCH_INTERVAL_SECONDS = 0.0005
"""How long a thread that formats an answer can keep the interpreter lock from the engine's, which needs it some ten
times a step. Python's default of 5 ms would make each of these waits a step of its own."""


class DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, banner: str) -> None:
        super().__init__(config)
        self._app = app
        self._banner = banner

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                print(f"{self._banner} on http://{host}:{port}", file=sys.stderr, flush=True)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; true ends the server."""
        died_at = self._app.state.engine.died_at
        is_over = died_at is not None and time.monotonic() - died_at > DEATH_GRACE_SECONDS
        return await super().on_tick(counter) or is_over

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.draining = True
        super().handle_exit(sig, frame)


def serve(app: FastAPI, host: str, port: int, shutdown_timeout: float, *, banner: str) -> int:
    """Serve until a signal ends it, and return the process's status: 0, or 1 if the engine died.

    Port 0 takes a free one; the banner says which.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(shutdown_timeout)),
    )
    gc.freeze()  # what has been loaded stays: collections need not look at it while streams wait
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    # uvicorn raises the signal again when it has shut down; a drained server ends with status 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    DrainingServer(config, app, banner).run()
    return 0 if app.state.engine.died_at is None else 1
