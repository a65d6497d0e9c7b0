from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llm_quantize.evaluation.likelihood import continuation_scores, shared_length
from llm_quantize.evaluation.model import Loaded, load


def by_hand(loaded: Loaded, context: str, option: str, shared: int) -> float:
    """Return the log-probability of what follows the first `shared` tokens, from one plain pass."""
    ids = torch.tensor(loaded.tokens(context + option))
    log_p = torch.log_softmax(loaded.logits(ids[:-1]), dim=-1)
    return float(log_p.gather(1, ids[1:, None])[shared - 1 :].sum())


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma", "qwen2", "qwen3", "phi3"])
def test_the_shared_context_changes_no_score(tiny: Path, family: str) -> None:
    loaded = load(tiny.parent / family)
    context = "import os\n\n\ndef walk(top, names):\n    for name in names:\n        " * 6
    options = ["print(os.path.join(top, name))\n", "return\n", "yield name, top\n"]
    shared = shared_length([loaded.tokens(context), *(loaded.tokens(context + option) for option in options)])
    scores = continuation_scores(loaded, context, options)
    assert [score for score, _ in scores] == pytest.approx(
        [by_hand(loaded, context, option, shared) for option in options], abs=2e-3
    )


def test_a_token_across_the_border_is_scored(tiny: Path) -> None:
    """Cut apart from its context, `turn` would be other tokens than in `return`."""
    loaded = load(tiny)
    context, option = "def f():\n    re", "turn 1\n"
    assert len(loaded.tokens(context)) + len(loaded.tokens(option)) > len(loaded.tokens(context + option))
    shared = shared_length([loaded.tokens(context), loaded.tokens(context + option)])
    ((score, count),) = continuation_scores(loaded, context, [option])
    assert count == len(loaded.tokens(context + option)) - shared
    assert score == pytest.approx(by_hand(loaded, context, option, shared), abs=1e-3)


def test_a_context_that_is_too_long_loses_its_beginning(tiny: Path) -> None:
    loaded = load(tiny)
    context = "value = 1\n" * 1200
    assert len(loaded.tokens(context)) > loaded.context
    (likely, _), (unlikely, _) = continuation_scores(loaded, context, ["value = 1\n", "]))) import\n"])
    assert likely > unlikely + 5
