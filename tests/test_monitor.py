"""The monitor before a real engine and gateway: exact counts, no empty panel, an alert when the engine dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import MonitorClient, Stack, any_port, eventually, kill, loaded, post, run_monitor

from llm_lab import service
from llm_lab.service import Running
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import empty

BODY = {"model": "main", "prompt": "def add(a, b):", "max_tokens": 24, "ignore_eos": True}
WATCHED = ("overview", "engines", "gateway")
"""Boards of what the stack has: there is no router and no GPU."""


@pytest.fixture
def monitor(start: Callable[..., Running], stack: Stack, tmp_path: Path) -> MonitorClient:
    return run_monitor(start, tmp_path, {"engine-0": stack.engine.url, "gateway": stack.gateway.url})


def test_tokens_are_counted_exactly_and_every_panel_has_data(monitor: MonitorClient, stack: Stack) -> None:
    counted = 'sum(vllm:generation_tokens_total{instance="engine-0"})'
    assert eventually(lambda: monitor.value(counted) is not None)
    before = monitor.value(counted) or 0.0
    answers = [post(stack.gateway.url, BODY) for _ in range(6)]
    assert [status for status, _ in answers] == [200] * 6
    tokens = sum(answer["usage"]["completion_tokens"] for _, answer in answers)
    assert eventually(lambda: monitor.value(counted) == before + tokens)

    boards = [board for board in BOARDS if board.key in WATCHED]
    assert {board.key for board in boards} == set(WATCHED)
    with loaded(stack.gateway.url, BODY):
        assert eventually(lambda: not empty(boards, monitor.seen)), empty(boards, monitor.seen)


def test_a_dead_engine_raises_its_alert_and_a_new_one_resolves_it(
    monitor: MonitorClient, stack: Stack, start_engine: Callable[..., Running]
) -> None:
    assert eventually(lambda: monitor.value('up{instance="engine-0"}') == 1)
    killed = time.monotonic()
    kill(stack.engine)
    assert eventually(lambda: "TargetDown" in monitor.firing())
    assert monitor.firing()["TargetDown"]["instance"] == "engine-0"
    assert time.monotonic() - killed < 30, "`for` is 10 s, and a scrape has a second to fail"
    again = start_engine("engine-0", int(stack.engine.url.rpartition(":")[2]))
    service.wait_until_ready([again])
    assert eventually(lambda: "TargetDown" not in monitor.firing())


def test_one_look_at_the_stack(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    from llm_monitor.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["check", stack.engine.url, stack.gateway.url])
    assert ended.value.code == 0, capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["check", stack.engine.url, f"http://127.0.0.1:{any_port()}"])
    assert ended.value.code == 1
