from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from llm_bench.errors import ScenarioError
from llm_bench.workload.prompts import (
    _tag,
    draw_prompts,
    find_corpus,
    read_corpus,
    truncate_by_characters,
    truncate_by_tokenizer,
)

CORPUS = "".join(f"line number {index} of the corpus\n" for index in range(50))


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """One token per character."""
    vocabulary = {chr(code): code for code in range(128)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # blanks are no tokens: offsets and counts must differ
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def draw(count: int, length: int, salt: str = "s", seed: int = 0, corpus: str = CORPUS) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        prompt.text for prompt in draw_prompts(corpus, [length] * count, rng, salt, truncate=truncate_by_characters)
    ]


def test_no_two_prompts_begin_alike_even_from_a_tiny_corpus() -> None:
    prompts = draw(500, 20, corpus="x\n")

    assert len({prompt[:11] for prompt in prompts}) == 500


@given(salt=st.text(max_size=8), first=st.integers(0, 2**31))
def test_tags_of_a_run_are_unique_by_construction(salt: str, first: int) -> None:
    assert len({_tag(salt, first + number) for number in range(2000)}) == 2000


def test_the_salt_changes_the_tag_and_nothing_else() -> None:
    one, other = draw(20, 30, salt="a"), draw(20, 30, salt="b")

    assert not {prompt[:11] for prompt in one} & {prompt[:11] for prompt in other}
    assert [prompt[11:] for prompt in one] == [prompt[11:] for prompt in other]
    assert draw(20, 30, salt="a") == one


def test_the_text_comes_from_line_starts_of_the_corpus() -> None:
    assert all(prompt[11:].startswith("line number") for prompt in draw(20, 30))


def test_a_prompt_longer_than_the_corpus_goes_round() -> None:
    (prompt,) = draw(1, 40, corpus="abc\n")

    assert len(prompt) == 120
    assert prompt[11:] == ("abc\n" * 30)[:109]


def test_a_tokenizer_cuts_to_the_exact_count(tokenizer_file: Path) -> None:
    truncate = truncate_by_tokenizer(tokenizer_file)

    text, tokens = truncate("ab cd ef gh", 5)

    assert (text, tokens) == ("ab cd e", 5)
    assert truncate("ab", 5) == ("ab", 2)


def test_a_wrong_tokenizer_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")

    with pytest.raises(ScenarioError, match=r"tokenizer\.json: is not a readable"):
        truncate_by_tokenizer(path)


def test_the_built_in_corpus_is_found_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "eval").mkdir(parents=True)
    (tmp_path / "models" / "eval" / "heldout.txt").write_text("text")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setattr("llm_bench.workload.prompts.__file__", "/nowhere/prompts.py")

    assert read_corpus(find_corpus()) == "text"


def test_far_from_the_repository_the_text_is_the_packages_own_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llm_bench").mkdir()
    (tmp_path / "llm_bench" / "prompts.py").write_text("def one(): ...")
    (tmp_path / "llm_bench" / "default.yaml").write_text("name: default")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llm_bench.workload.prompts.__file__", str(tmp_path / "llm_bench" / "prompts.py"))

    assert read_corpus(find_corpus()) == "def one(): ..."


def test_a_missing_or_empty_corpus_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(ScenarioError, match=r"gone\.txt: the corpus cannot be read"):
        read_corpus(tmp_path / "gone.txt")
    with pytest.raises(ScenarioError, match=r"empty\.txt: the corpus is empty"):
        read_corpus(empty)
