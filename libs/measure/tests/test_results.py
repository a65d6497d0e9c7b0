from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_measure import results


def test_a_result_names_its_program_machine_and_commit(tmp_path: Path) -> None:
    path = results.write(str(tmp_path / "overhead.py"), {"machine": results.machine(), "rate": 3})
    assert path == tmp_path / "results" / "overhead.json"
    written = json.loads(path.read_text())
    assert (written["benchmark"], written["rate"]) == ("overhead", 3)
    assert {"date", "commit"} <= set(written)
    assert {"cpu", "cores", "python", "libraries"} <= set(written["machine"])


def test_bars_are_printed_kept_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, object] = {}
    assert results.check(found, {"rate": (2.0, ">=", 1.0), "delay": (1.0, "<=", 1.0)})
    assert not results.check(found, {"rate": (0.5, ">=", 1.0)})
    assert found["bars"] == {"rate": {"measured": 0.5, "relation": ">=", "limit": 1.0, "holds": False}}
    assert "BROKEN  rate: 0.50 >= 1" in capsys.readouterr().out
