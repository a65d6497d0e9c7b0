"""The commands that talk to a router, against an admin API that plays a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llm_router.client.commands import main
from llm_router.status import ApplicationStatus, EngineStatus, NodeStatus, RolloutState, RolloutStatus, Status

NODE = NodeStatus(id="n", address="10.0.0.1", alive=True, gpus=4, gpus_free=1, cpus=8, cpus_free=7)
ENGINE = EngineStatus(id="abc", state="RUNNING", model="main", version="11111111", url="http://x:1", gpus=("0",))
APPLICATION = ApplicationStatus(
    name="engines-main",
    kind="engines",
    status="DEPLOYING",
    model="main",
    policy="prefix",
    target=3,
    ready=1,
    waits_for="2 × 1 GPU; 0 of 4 are free",
    engines=(ENGINE,),
)
LOAD = {"id": "abc", "in_flight": 3, "running": 2.0, "waiting": 1.0, "kv_usage": 0.5, "up": True}


def status(*states: RolloutState, message: str = "", ended: float | None = None, started: float = 1) -> Status:
    rollouts = tuple(
        RolloutStatus(
            application="engines-main", state=state, to_version="2" * 8, started=started, message=message, ended=ended
        )
        for state in states
    )
    return Status(applications=(APPLICATION,), nodes=(NODE,), rollouts=rollouts)


class Api(ThreadingHTTPServer):
    """Answers each request with the next of `answers` for its path, the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.bodies: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, path: str, *answers: Any, code: int = 200) -> None:
        self.answers[path] = [(code, answer) for answer in answers]


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.do_GET()

    def do_GET(self) -> None:
        answers = self.server.answers[self.path]
        code, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(api: Api) -> Callable[..., int]:
    return lambda *words: main([*words, "--admin", api.url])


def edge_says(control: Status) -> dict[str, Any]:
    return {"control": control.model_dump(mode="json"), "models": [{"name": "main", "engines": [LOAD]}]}


def test_status_shows_gpus_engines_load_and_what_waits(
    api: Api, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    api.say("/-/status", edge_says(status()))
    assert run("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "node 10.0.0.1: 3 of 4 GPUs in use",
        "",
        "engines-main: main (prefix), DEPLOYING, 1 of 3 ready",
        "  engine  state    version   GPUs  in flight  running  waiting  KV   url",
        "  abc     RUNNING  11111111  0     3          2        1        50%  http://x:1",
        "  waits for 2 × 1 GPU; 0 of 4 are free",
    ]


def test_scale_orders(api: Api, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    api.say("/-/scale", status().model_dump(mode="json"))
    assert run("scale", "main", "3") == 0
    assert api.bodies == [{"model": "main", "replicas": 3}]
    assert capsys.readouterr().out == "engines-main: 1 ready, 3 ordered\n"


def test_a_refusal_is_shown(api: Api, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    api.say("/-/scale", {"error": {"message": "model x is not served; the models are main"}}, code=400)
    assert run("scale", "x", "3") == 1
    assert capsys.readouterr().err == "llm-router: model x is not served; the models are main\n"


@pytest.mark.parametrize(("last", "code"), [("done", 0), ("rolled_back", 1)])
def test_deploy_waits_for_the_rollout(
    api: Api,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    last: RolloutState,
    code: int,
) -> None:
    monkeypatch.setattr("llm_router.client.commands.POLL_SECONDS", 0)
    file = tmp_path / "router.yaml"
    file.write_text("applications: []\n")
    message = "" if code == 0 else "no weights"
    api.say("/-/deploy", status("in_progress").model_dump(mode="json"))
    old = [edge_says(status("done", started=0)), edge_says(status())]  # read before the deploy
    api.say("/-/status", *old, edge_says(status("in_progress")), edge_says(status(last, message=message)))
    assert run("deploy", str(file)) == code
    assert api.bodies == [{"applications": []}]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "engines-main: new → 22222222, in progress, 0 of 0 ready"
    assert lines[1] == f"engines-main: new → 22222222, {last.replace('_', ' ')}, 0 of 0 ready"
    assert lines[2:] == ([] if code == 0 else ["  no weights"])


def test_deploy_of_what_runs_already(
    api: Api, run: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "router.yaml"
    file.write_text("applications: []\n")
    api.say("/-/deploy", status("done", ended=2).model_dump(mode="json"))
    assert run("deploy", str(file)) == 0
    assert capsys.readouterr().out == "nothing restarts\n"


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("in_progress", 0), ("failed", 1), ("rolled_back", 1)])
def test_rollout_status(
    api: Api, run: Callable[..., int], capsys: pytest.CaptureFixture[str], state: RolloutState, code: int
) -> None:
    api.say("/-/status", edge_says(status(state)))
    assert run("rollout", "status") == code
    assert state.replace("_", " ") in capsys.readouterr().out


def test_no_router_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--admin", "http://127.0.0.1:9"]) == 1
    assert "no router answers at http://127.0.0.1:9" in capsys.readouterr().err


def test_an_edge_without_a_control_plane(api: Api, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    api.say("/-/status", {"control": None, "models": []})
    assert run("status") == 1
    assert "without a control plane" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", "a: [", ""])
def test_a_file_that_is_no_configuration(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(text)
    assert run("deploy", str(file)) == 1
    assert str(file) in capsys.readouterr().err
