from __future__ import annotations

import sys
from pathlib import Path

import jinja2
import pytest

from llm_report.template import fill_template


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "a_report"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "style.css").write_text(".own { color: red }")
    (folder / "page.html").write_text("<style>{{ style }}</style><p>{{ name }} {{ bytes | size }}</p>")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "a_report", raising=False)
    return "a_report"


def test_a_page_has_the_theme_its_own_rules_and_escaped_content(package: str) -> None:
    page = fill_template(package, "page.html", name="<a>", bytes=1200)
    assert "--hue0" in page
    assert ".own { color: red }" in page
    assert "<p>&lt;a&gt; 1.20 kB</p>" in page


def test_a_name_that_the_page_is_not_given_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill_template(package, "page.html", name="a")
