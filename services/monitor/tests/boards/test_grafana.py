"""The boards for Grafana have every panel, and expressions that a Prometheus can read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import faults
from llm_monitor.boards.grafana import main, to_json
from llm_monitor.boards.metrics import exported
from llm_monitor.boards.panel import Board
from llm_monitor.promql import parse


def panels(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in found["panels"]:
        yield from panel.get("panels") or []
        if panel["type"] != "row":
            yield panel


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.key)
def test_a_board_has_all_panels_and_defined_metrics(board: Board) -> None:
    found = json.loads(to_json(board))
    shown = list(panels(found))
    assert [panel["title"] for panel in shown] == [panel.title for panel in board.panels]
    for panel in shown:
        assert panel["description"]
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m")
            parse(expression)
            assert list(faults(expression.replace("$", ""), exported())) == []
    variables = {variable["name"] for variable in found["templating"]["list"]} if "templating" in found else set()
    used = set(re.findall(r'"\$(\w+)"', " ".join(target["expr"] for panel in shown for target in panel["targets"])))
    assert used <= variables


def test_the_program_writes_every_board(tmp_path: Path) -> None:
    main([str(tmp_path / "boards")])
    assert {path.stem for path in (tmp_path / "boards").iterdir()} == {board.key for board in BOARDS}
