"""Code in pages: by symbol in Python, by region elsewhere; a name that is gone fails."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from llm_report.snippets import SnippetError, cut, fenced

MODULE = '''
import os

LIMIT: int = 3
NAMES = (
    "a",
)


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


def shown(root: Path, name: str) -> str:
    return fenced(cut(root, name))


def test_a_method_is_shown_without_its_indentation(root: Path) -> None:
    expected = "```python\ndef push(self, item):\n    # the last\n    self.items.append(item)\n```\n"
    assert shown(root, "queue.py::Queue.push") == expected


def test_decorators_belong_to_what_they_decorate(root: Path) -> None:
    assert shown(root, "queue.py::Queue.depth") == "```python\n@property\ndef depth(self):\n    return 1\n```\n"
    assert shown(root, "queue.py::Queue").startswith("```python\n@decorated\nclass Queue:")


def test_a_region_is_shown_without_its_marks(root: Path) -> None:
    assert shown(root, "kernel.cu::load") == "```cuda\nauto x = a[i];\n  if (x) y();\n```\n"


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
    with pytest.raises(SnippetError, match=name.replace(".", r"\.")):
        cut(root, name)


def test_a_constant_is_shown_with_all_its_lines(root: Path) -> None:
    assert shown(root, "queue.py::LIMIT") == "```python\nLIMIT: int = 3\n```\n"
    assert shown(root, "queue.py::NAMES") == '```python\nNAMES = (\n    "a",\n)\n```\n'


def test_a_snippet_knows_its_lines(root: Path) -> None:
    depth = cut(root, "queue.py::Queue.depth")
    assert MODULE.splitlines()[depth.first - 1 : depth.last] == textwrap.indent(depth.code, "    ").splitlines()
    load = cut(root, "kernel.cu::load")
    assert (load.first, load.last) == (3, 4)


def test_a_fence_in_the_code_ends_no_block(root: Path) -> None:
    (root / "notes.py").write_text('TEXT = """\n```\n"""\n')
    assert shown(root, "notes.py::TEXT").startswith("````python\n")
