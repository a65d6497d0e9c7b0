"""The Compose files on a real Docker: each capstone up, answering and gone; the whole, watched and traced."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.support_compose import HEALTHY_SECONDS, STAND_INS, Project, ask, docker, project, stand_in
from support import eventually, loaded

from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import empty

BODY = {"model": "main", "prompt": "def add(a, b):", "max_tokens": 24, "ignore_eos": True}
CHAT = {"model": "main", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
TRACE = "0af7651916cd43dd8448eb211c80319c"
WATCHED = ("overview", "engines", "gateway", "router", "requests", "monitor")
"""Boards of what runs: no GPU does, and the alerts' board is about what fires."""


def answers(service: str) -> Callable[[Project], bool]:
    """Return whether a capstone does its job, by its name."""
    return {
        "engine": lambda run: ask(run.url("engine") + "/v1/completions", body=BODY)[0] == 200,
        "router": lambda run: ask(run.url("router") + "/v1/completions", body=BODY)[0] == 200,
        "gateway": lambda run: ask(run.url("gateway") + "/v1/completions", run.key("client"), BODY)[0] == 200,
        "monitor": lambda run: eventually(lambda: value(run, 'up{instance="engine"}') == 1),
        "bench": lambda run: "Locust" in str(ask(run.url("bench") + "/")[1]),
        "docs": lambda run: "<html" in str(ask(run.url("docs") + "/")[1]),
    }[service]


def value(run: Project, expression: str) -> float | None:
    """Return the first value of an expression in the monitor; None if it has none."""
    query = f"{run.url('monitor')}/api/v1/query?query={urllib_quote(expression)}"
    result = ask(query, run.key("monitor"))[1]["data"]["result"]
    return float(result[0]["value"][1]) if result else None


@pytest.mark.parametrize("capstone", ["engine", "router", "gateway", "monitor", "bench", "docs"])
def test_a_capstone_alone_is_healthy_answers_and_leaves_nothing(capstone: str, tmp_path: Path, images: None) -> None:
    with project(tmp_path, capstone) as run:
        assert run.up() <= HEALTHY_SECONDS
        assert answers(capstone)(run)
        assert run.lab(capstone, "down", "--volumes").returncode == 0
        assert run.left() == []


def test_a_job_writes_its_results_and_ends(tmp_path: Path, images: None) -> None:
    with project(tmp_path, "quantize") as run:
        run.compose("run", "--name", f"{run.name}-job", "quantize", "quantize", "/models/main", "--method", "rtn", "--out", "/out/rtn")
        docker("cp", f"{run.name}-job:/out/rtn/quantization.json", str(tmp_path))
        assert (tmp_path / "quantization.json").stat().st_size > 0
