"""Score the choices of the source tasks: 1 where the model finds the true continuation the most likely one."""

from __future__ import annotations

import math
from collections.abc import Callable

from llm_quantize.evaluation.likelihood import continuation_scores
from llm_quantize.evaluation.model import Loaded
from llm_quantize.evaluation.scores import ScoreList, Scores, item_name
from llm_quantize.evaluation.source_tasks import make_choices
from llm_quantize.evaluation.windows import FEWEST_DOCUMENTS


def score_choices(
    loaded: Loaded,
    task: str,
    text: str,
    *,
    items: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Scores:
    """Return a task's scores; a tie with a wrong option counts as a miss."""
    choices = make_choices(task, text, items)
    scores = ScoreList(task)
    for number, choice in enumerate(choices):
        if progress:
            progress(task, number, len(choices))
        true, *others = (score for score, _ in continuation_scores(loaded, choice.context, choice.options))
        name = item_name(choice.context, *choice.options)
        scores.add(name, float(true > max(others)) if math.isfinite(true) else true, group=choice.document)
    return scores.finish(FEWEST_DOCUMENTS)
