"""The monitor before two real vLLM servers: it reads what they export, and no panel about engines is empty.

./lab vllm && .venv/bin/python -m pytest tests/vllm/test_monitor.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import eventually, loaded, post, run_monitor

from llm_lab.service import Running
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import empty
from llm_monitor.cli import main

BODY = {"model": "main", "prompt": "def add(a, b):", "max_tokens": 24, "ignore_eos": True}


def test_every_panel_about_engines_has_data(
    servers: list[Running], start: Callable[..., Running], tmp_path: Path
) -> None:
    monitor = run_monitor(start, tmp_path, {f"vllm-{index}": each.url for index, each in enumerate(servers)})
    counted = "sum(vllm:generation_tokens_total)"
    assert eventually(lambda: monitor.value("count(up == 1)") is not None and monitor.value(counted) is not None)
    before = monitor.value(counted) or 0.0
    answers = [post(each.url, BODY) for each in servers for _ in range(3)]
    tokens = sum(answer["usage"]["completion_tokens"] for _, answer in answers)
    assert eventually(lambda: monitor.value(counted) == before + tokens)

    (engines,) = (board for board in BOARDS if board.key == "engines")
    with loaded(servers[0].url, BODY):
        assert eventually(lambda: not empty([engines], monitor.seen)), empty([engines], monitor.seen)


def test_one_look_at_them_says_that_all_is_well(servers: list[Running]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", *(each.url for each in servers)])
    assert ended.value.code == 0
