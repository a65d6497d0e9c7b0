"""A deployment in memory: containers, answers and series that a test chooses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llm_deploy.running.container import Container
from llm_deploy.running.deployment import Keys

Handler = Callable[[str, str, bytes], tuple[int, Any]]
"""(path, bearer key, body) -> (status, JSON)."""


GOOD = Container(
    name="llm-gateway-1",
    service="gateway",
    image="llm-lab/gateway:dev",
    user="10001:10001",
    read_only=True,
    no_new_privileges=True,
    dropped=("ALL",),
    memory_bytes=1 << 29,
    cpus=1.0,
    probes=("docker",),
    stop_seconds=75,
    rotates_logs=True,
    restarts_itself=True,
    environment={"PATH": "/bin", "GPG_KEY": "A035C8C19219BA821ECEA86B64E628F8D684696D", "KEY_FILE": "/run/secrets/key"},
    ports={8080: "127.0.0.1:8080"},
)
"""A container that every check finds in order."""


@dataclass
class FakeDeployment:
    found: list[Container]
    urls: Mapping[tuple[str, int], str] = field(default_factory=dict)
    kind: str = "compose"
    name: str = "fake"
    keys: Keys = field(default_factory=lambda: Keys("client", "admin", "monitor"))
    output: str = ""
    """Returned by `run_in`."""
    log: str = ""

    def containers(self) -> list[Container]:
        return self.found

    def url(self, service: str, port: int) -> str:
        return self.urls[service, port]

    def run_in(self, service: str, *words: str) -> str:
        return self.output

    def logs(self, service: str, lines: int = 50) -> str:
        return self.log


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Serve JSON on loopback; yield the URL."""

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, found = handler(self.path, key, self.rfile.read(length))
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
