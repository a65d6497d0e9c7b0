"""Code in pages: by symbol in Python, by region elsewhere; a name that is gone fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_lab import pages, paths
from llm_lab.errors import LabError
from llm_lab.snippets import snippet

MODULE = '''
import os


@decorated
class Queue:
    """A queue."""

    def push(self, item):
        # the last
        self.items.append(item)

    @property
    def depth(self):
        return 1
'''
KERNEL = """#include <x>
  // [load]
  auto x = a[i];
    if (x) y();
  // [/load]
  // [open]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "queue.py").write_text(MODULE)
    (tmp_path / "kernel.cu").write_text(KERNEL)
    return tmp_path


def test_a_method_is_shown_without_its_indentation(root: Path) -> None:
    expected = "```python\ndef push(self, item):\n    # the last\n    self.items.append(item)\n```\n"
    assert snippet(root, "queue.py::Queue.push") == expected


def test_decorators_belong_to_what_they_decorate(root: Path) -> None:
    assert snippet(root, "queue.py::Queue.depth") == "```python\n@property\ndef depth(self):\n    return 1\n```\n"
    assert snippet(root, "queue.py::Queue").startswith("```python\n@decorated\nclass Queue:")


def test_a_region_is_shown_without_its_marks(root: Path) -> None:
    assert snippet(root, "kernel.cu::load") == "```cuda\nauto x = a[i];\n  if (x) y();\n```\n"


@pytest.mark.parametrize(
    "name",
    [
        "queue.py::Queue.pop",
        "queue.py::push",
        "queue.py",
        "kernel.cu::store",
        "kernel.cu::open",
        "kernel.cu",
        "gone.py::f",
    ],
)
def test_a_name_that_is_gone_is_an_error_that_names_it(root: Path, name: str) -> None:
    with pytest.raises(LabError, match=name.replace(".", r"\.")):
        snippet(root, name)


def test_a_page_takes_its_code_from_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", root)
    page = root / "page.md"
    page.write_text("<!-- code: kernel.cu::load -->\nold\n<!-- end of code -->\n<!-- code: x -->\nunfinished\n")
    assert pages.refresh(iter([page]), check=False) == [page]
    assert "auto x = a[i];" in page.read_text()
    assert page.read_text().endswith("<!-- code: x -->\nunfinished\n")
    assert pages.refresh(iter([page]), check=True) == []
