from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llm_contract.probe import main


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()
        self.wfile.write(b"draining")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_200_is_healthy(server: str) -> None:
    assert main([f"{server}/ready", "30"]) == 0


def test_another_status_fails_with_the_servers_words(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{server}/other", "30"]) == 1
    assert "503 draining" in capsys.readouterr().err


def test_a_server_that_hangs_fails_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert main([f"http://127.0.0.1:{silent.getsockname()[1]}/ready", "0.1"]) == 1
    assert "timed out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["https://127.0.0.1/"], ["127.0.0.1:80"], ["http://127.0.0.1/", "0"]])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err
