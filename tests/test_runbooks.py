"""Every alert of the monitor and every drill leads to a page that says what to do, and no page is left over."""

from __future__ import annotations

import re
from pathlib import Path

from llm_deploy.drills.expectation import read
from llm_deploy.drills.faults import FAULTS
from llm_lab import paths

RUNBOOKS = paths.ROOT / "docs" / "runbooks"
RULES = paths.ROOT / "services" / "monitor" / "llm_monitor" / "alerts" / "rules.yaml"
SHAPE = ["Symptom", "First look", "Decide", "Act", "Verify", "Prevent"]


def pages() -> list[Path]:
    return sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")


def test_each_alert_has_a_page_and_each_page_an_alert_or_a_drill() -> None:
    linked = set(re.findall(r"runbook: (runbooks/\w+)", RULES.read_text()))
    drilled = {f"runbooks/{written.page.stem}" for written in read().values()}
    assert linked | drilled == {f"runbooks/{page.stem}" for page in pages()}
    assert RULES.read_text().count("alert:") == RULES.read_text().count("runbook: ")


def test_all_pages_have_one_shape_and_stand_in_the_index() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    for page in pages():
        assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == SHAPE, page.name
        assert f"[{page.stem}]({page.name})" in index


def test_each_drill_has_its_expectation_in_the_page_that_the_index_names() -> None:
    written = read()
    assert set(written) == set(FAULTS)
    index = (RUNBOOKS / "README.md").read_text()
    for drill, found in written.items():
        assert f"| `{drill}` | [{found.page.stem}]({found.page.name}) |" in index


def test_a_drill_expects_an_alert_that_exists() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    assert {found.expectation.alert for found in read().values()} <= alerts | {None}
