"""The full model reads a text once: later evaluations read its logits from a file, and their figures are the same."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from llm_quantize.evaluation import reference
from llm_quantize.evaluation.evaluation import evaluate
from llm_quantize.evaluation.model import Loaded
from llm_quantize.evaluation.reference import Reference

WINDOWED = ("perplexity", "next-token", "kl")
ITEMS = 16


class FullDisk(io.BytesIO):
    """A file that takes one write and no more."""

    def write(self, content: object) -> int:
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)  # type: ignore[arg-type]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the model's name with each forward pass."""
    names: list[str] = []
    logits = Loaded.logits

    def noted(loaded: Loaded, ids: Tensor) -> Tensor:
        names.append(loaded.folder.name)
        return logits(loaded, ids)

    monkeypatch.setattr(Loaded, "logits", noted)
    return names


def test_the_text_is_read_once(
    tiny: Path, make_rounded: Callable[[Path, int], Path], tmp_path: Path, computed: list[str]
) -> None:
    methods = [make_rounded(tiny, bits) for bits in (8, 4)]
    expected = [evaluate(one, reference=tiny, benchmarks=WINDOWED, items=ITEMS).scores for one in methods]
    computed.clear()

    with Reference.keeping(tiny, "cpu", tmp_path) as full:
        plain = evaluate(tiny, reference=full, benchmarks=WINDOWED[:2], items=ITEMS)
        windows = computed.count(tiny.name)
        found = [evaluate(one, reference=full, benchmarks=WINDOWED, items=ITEMS).scores for one in methods]

    assert windows > 0
    assert computed.count(tiny.name) == windows
    assert found == expected
    assert plain.scores == evaluate(tiny, benchmarks=WINDOWED[:2], items=ITEMS).scores
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [None, FullDisk()], ids=["no file", "full disk"])
def test_what_is_not_kept_is_computed_again(
    tiny: Path, make_rounded: Callable[[Path, int], Path], kept: io.BytesIO | None, computed: list[str]
) -> None:
    four = make_rounded(tiny, 4)
    expected = evaluate(four, reference=tiny, benchmarks=WINDOWED, items=ITEMS).scores
    windows = computed.count(tiny.name)
    full = Reference(tiny, kept=kept)
    found = [evaluate(four, reference=full, benchmarks=WINDOWED, items=ITEMS).scores for _ in range(2)]
    assert windows > 1
    assert computed.count(tiny.name) == 3 * windows
    assert found == [expected] * 2


def test_the_file_has_a_largest_size(
    tiny: Path, make_rounded: Callable[[Path, int], Path], monkeypatch: pytest.MonkeyPatch, computed: list[str]
) -> None:
    """The windows that fit are read once, the others each time."""
    four, kept = make_rounded(tiny, 4), io.BytesIO()
    full = Reference(tiny, kept=kept)
    evaluate(four, reference=full, benchmarks=("kl",), items=ITEMS)
    whole, windows = kept.getbuffer().nbytes, computed.count(tiny.name)
    monkeypatch.setattr(reference, "MOST_BYTES", whole - 1)
    kept = io.BytesIO()
    half = Reference(tiny, kept=kept)
    computed.clear()
    found = [evaluate(four, reference=half, benchmarks=("kl",), items=ITEMS).scores for _ in range(2)]
    assert kept.getbuffer().nbytes == whole * (windows - 1) // windows
    assert computed.count(tiny.name) == windows + 1
    assert found[0] == found[1]
