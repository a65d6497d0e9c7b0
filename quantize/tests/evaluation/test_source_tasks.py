from __future__ import annotations

from pathlib import Path

import pytest

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.source_tasks import TASKS, make_choices

MODULE = '''
import os


def collect(folder, wanted):
    found = []
    for name in os.listdir(folder):
        if name.endswith(wanted):
            found.append(os.path.join(folder, name))
    return found


def show(entries):
    """Print (all) of them."""
    for entry in sorted(entries):
        print(entry, end="\\n")
'''


@pytest.fixture(scope="module")
def text(heldout: Path) -> str:
    return heldout.read_text(encoding="utf-8")


@pytest.mark.parametrize("task", TASKS)
def test_the_first_option_is_what_the_file_says(task: str, text: str) -> None:
    for choice in make_choices(task, text):
        assert choice.context + choice.options[0] in text
        assert len(set(choice.options)) == len(choice.options) >= 2


@pytest.mark.parametrize("task", TASKS)
def test_the_same_text_gives_the_same_items_and_fewer_are_the_first_of_them(task: str, text: str) -> None:
    assert make_choices(task, text) == make_choices(task, text)
    assert make_choices(task, text, 10) == make_choices(task, text, 20)[:10]
    assert make_choices(task, text) != make_choices(task, text, seed=1)
    assert len({choice.document for choice in make_choices(task, text)}) >= 15


@pytest.mark.parametrize("task", TASKS)
def test_no_option_begins_with_another(task: str, text: str) -> None:
    """If one did, the longer one could not be the more likely."""
    for choice in make_choices(task, text, 10_000):
        for one in choice.options:
            assert not any(other != one and other.startswith(one) for other in choice.options), choice


def test_indents_differ_from_the_true_one(text: str) -> None:
    for choice in make_choices("indents", text, 300):
        for option in choice.options[1:]:
            assert len(option) - len(option.lstrip()) != len(choice.options[0]) - len(choice.options[0].lstrip())


def test_brackets_in_strings_are_no_items() -> None:
    contexts = [choice.context for choice in make_choices("brackets", MODULE, 100)]
    assert not any(context.endswith("(all") for context in contexts)
    assert any(context.endswith("os.path.join(folder, name") for context in contexts)


@pytest.mark.parametrize("task", TASKS)
def test_prose_is_refused(task: str) -> None:
    with pytest.raises(EvaluationError, match="needs Python source"):
        make_choices(task, "It's a fine day, isn't it? (No.)\n" * 40)
