"""The list as a whole: what it covers, how it reports, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.support_deployment import GOOD, FakeDeployment

from llm_deploy import paths
from llm_deploy.cli import main
from llm_deploy.ready import report
from llm_deploy.ready.check import Check, Finding, Result, Subject, carry_out
from llm_deploy.ready.checks import CHECKS

CAPACITY = [word for name in ("tokens-per-second", "rate", "prompt", "output") for word in (f"--{name}", "1")]
ITSELF = "The production readiness checklist passes"


def project() -> dict[str, list[str]]:
    """Return project 7.7 of the syllabus."""
    syllabus = yaml.safe_load((paths.ROOT / "courses" / "syllabus.yaml").read_text())
    module = next(each for each in syllabus["modules"] if each["number"] == 7)
    found = [item for value in module.values() if isinstance(value, list) for item in value if isinstance(item, dict)]
    return next(item for item in found if item.get("number") == "7.7")


def test_each_requirement_and_criterion_of_the_outline_has_a_check() -> None:
    wanted = {*project()["requirements"], *project()["criteria"]} - {ITSELF}
    assert wanted == {text for check in CHECKS for text in check.covers}


def test_names_are_unique_and_pages_exist() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert [check.page for check in CHECKS if not (paths.ROOT / check.page).is_file()] == []


def check(state: str, severity: str = "required") -> Result:
    one = Check(name="x", asserts="a", how="h", page="p", run=lambda subject: Finding("green", ""), severity=severity)  # type: ignore[arg-type]
    return Result(one, Finding(state, "<seen>"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([check("green")], "ready: 1 green"),
        ([check("green"), check("red")], "NOT READY: 1 green, 1 red"),
        ([check("red", "recommended"), check("skipped")], "ready: 1 red, 1 skipped"),
    ],
)
def test_only_a_required_check_blocks(results: list[Result], verdict: str) -> None:
    assert report.summary(results) == verdict


def test_the_report_has_the_evidence_as_json_and_as_a_page(tmp_path: Path) -> None:
    page = report.write([check("red")], "compose llm", tmp_path).read_text()
    assert "&lt;seen&gt;" in page
    found = json.loads((tmp_path / "ready.json").read_text())
    assert (found["subject"], found["checks"][0]["evidence"]) == ("compose llm", "<seen>")


def test_a_check_that_cannot_look_is_red_and_one_that_disturbs_is_skipped() -> None:
    def broken(subject: Subject) -> Finding:
        raise OSError("gone")

    one = Check(name="x", asserts="a", how="h", page="p", run=broken)
    subject = Subject(FakeDeployment([GOOD]))
    assert carry_out(one, subject, disturb=False).finding == Finding("red", "OSError: gone")
    disturbing = Check(name="x", asserts="a", how="h", page="p", run=broken, disturbs=True)
    assert carry_out(disturbing, subject, disturb=False).finding.state == "skipped"
    cluster = Check(name="x", asserts="a", how="h", page="p", run=broken, kinds=("kubernetes",))
    assert carry_out(cluster, subject, disturb=True).finding.state == "skipped"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ready", "--only", "nothing"], "there is no check nothing"),
        (["ready", "--kubeconfig", "/nowhere"], "/nowhere does not exist"),
        (["ready", "--kubeconfig", "/nowhere", "--compose"], "not both"),
        (["ready", "--url", "gateway=http://127.0.0.1:1"], "--url belongs to --kubeconfig"),
        (["drill", "nothing"], "there is no drill nothing"),
        (["capacity", "nowhere", "--kv-memory", "1", *CAPACITY], "nowhere is neither"),
        (["capacity", "1x1x1", "--kv-memory", "0", *CAPACITY], "above 0"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_no_daemon_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///x.sock.' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for words in (["ready", "--compose", "x"], ["drill", "kill-engine"]):
        assert main(words) == 1
        assert capsys.readouterr().err == "lab: no Docker daemon answers; start it, or set DOCKER_HOST\n"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert main(["ready"]) == 1
    assert "docker is not installed" in capsys.readouterr().err
