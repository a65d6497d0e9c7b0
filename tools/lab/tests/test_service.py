import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from llm_lab import paths, service
from llm_lab.errors import LabError
from llm_lab.ports import HOST, free_ports
from llm_lab.service import Running, Service

# Serves 200 on every path, starts a child that would run for an hour, and writes both pids.
SERVER = """
import http.server, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *arguments): pass
print("TMPDIR", os.environ["TMPDIR"], flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def _logs_in_a_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "LOGS", tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)


def _service(code: str = SERVER) -> Service:
    port = next(free_ports(21000))
    return Service("fake", (sys.executable, "-c", code, str(port)), f"http://{HOST}:{port}")


def test_stop_ends_the_process_its_children_and_its_temporary_folder() -> None:
    running = service.start(_service())
    try:
        service.wait_until_ready([running], timeout=20)
        process = running.process()
        assert process is not None
        family = [process, *process.children(recursive=True)]
        assert len(family) == 2
        assert running.scratch.is_dir()
    finally:
        service.stop([running])
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)
    assert not running.scratch.exists()
    assert running.process() is None


def test_a_signal_in_the_middle_of_starting_waits_until_the_process_is_on_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = service._start

    def interrupted(asked: Service) -> Running:
        running = start(asked)
        signal.raise_signal(signal.SIGINT)
        return running

    monkeypatch.setattr(service, "_start", interrupted)
    started: list[Running] = []
    with pytest.raises(KeyboardInterrupt):
        service.start(_service(), started)
    (running,) = started
    assert running.process() is not None
    service.stop(started)
    assert running.process() is None


def test_a_service_that_ends_while_starting_is_reported_with_its_log() -> None:
    running = service.start(_service("print('no such model'); raise SystemExit(1)"))
    with pytest.raises(LabError, match="no such model"):
        service.wait_until_ready([running], timeout=20)
    service.stop([running])


def test_a_service_that_never_gets_ready_is_reported() -> None:
    running = service.start(_service("import time; time.sleep(3600)"))
    try:
        with pytest.raises(LabError, match="not ready after 0 s"):
            service.wait_until_ready([running], timeout=0.1)
    finally:
        service.stop([running])


def test_a_stubborn_service_is_killed() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
    running = service.start(_service(stubborn))
    service.wait_until_ready([running], timeout=20)
    begun = time.monotonic()
    service.stop([running], timeout=0.2)
    assert running.process() is None
    assert time.monotonic() - begun < 5


def test_a_later_process_with_the_same_pid_is_not_taken_for_ours(tmp_path: Path) -> None:
    ours = psutil.Process()
    stale = Running("old", "http://x", "/ready", tmp_path / "log", tmp_path, ours.pid, ours.create_time() - 100)
    assert stale.process() is None
    service.stop([stale])  # would end this test run otherwise


def test_a_running_service_survives_being_written_down(tmp_path: Path) -> None:
    running = Running("a", "http://x", "/ready", tmp_path / "log", tmp_path / "scratch", 1, 2.5)
    assert Running.from_json(running.to_json()) == running
