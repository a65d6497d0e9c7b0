"""HumanEval's two figures: pass@1 of greedy completions, and the loss on the canonical solutions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch

from llm_quantize.evaluation.humaneval.problems import Problem
from llm_quantize.evaluation.humaneval.sandbox import Limits, run_program
from llm_quantize.evaluation.likelihood import continuation_scores
from llm_quantize.evaluation.model import Loaded
from llm_quantize.evaluation.scores import ScoreList, Scores, item_name

MAX_NEW_TOKENS = 256
BATCH = 16
NEXT_STATEMENT = re.compile(r"\n(?=[^\s)\]}])")
"""The completion ends where a line begins that belongs to no function."""

Progress = Callable[[str, int, int], None] | None


def score_likelihood(loaded: Loaded, problems: Sequence[Problem], progress: Progress = None) -> Scores:
    """Return the mean loss per token of each canonical solution after its prompt; the figure is its perplexity."""
    scores = ScoreList("humaneval-likelihood")
    for number, problem in enumerate(problems):
        if progress:
            progress("humaneval-likelihood", number, len(problems))
        ((log_p, count),) = continuation_scores(loaded, problem.prompt, [problem.canonical_solution])
        name = item_name(problem.task_id, problem.prompt, problem.canonical_solution)
        scores.add(name, -log_p / count, weight=count)
    return scores.finish()


def score_pass_at_1(
    loaded: Loaded,
    problems: Sequence[Problem],
    *,
    limits: Limits | None = None,
    progress: Progress = None,
) -> Scores:
    """Return 1 for each problem whose greedy completion passes its tests."""
    scores = ScoreList("humaneval")
    for first in range(0, len(problems), BATCH):
        if progress:
            progress("humaneval", first, len(problems))
        batch = problems[first : first + BATCH]
        for problem, completion in zip(batch, complete(loaded, [one.prompt for one in batch]), strict=True):
            passed = run_program(problem.program(completion), limits) == "passed"
            scores.add(item_name(problem.task_id, problem.prompt, problem.test), float(passed))
    return scores.finish()


def complete(loaded: Loaded, prompts: Sequence[str], max_new_tokens: int = MAX_NEW_TOKENS) -> list[str]:
    """Return the greedy completion of each prompt, up to the end of its function.

    The prompt's last line break is left to the model: a token often spans it and the indentation behind it, and after
    the break alone, models end the answer (SmolLM2 solves nothing then).
    """
    rows = [[*loaded.start, *loaded.tokens(prompt.rstrip())] for prompt in prompts]
    width = max(map(len, rows))
    end = loaded.tokenizer.eos_token_id
    pad = end if end is not None else 0
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=loaded.device)
    stop = _AllEnded(loaded, width)
    with torch.inference_mode():
        output = loaded.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=min(max_new_tokens, loaded.context - width),
            pad_token_id=pad,
            stopping_criteria=[stop],
        )
    texts = loaded.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return [cut_completion(text) for text in texts]


def cut_completion(text: str) -> str:
    """Return the completion up to the first line that begins at the margin."""
    found = NEXT_STATEMENT.search("\n" + text)
    return text if found is None else text[: max(found.start() - 1, 0)]


class _AllEnded:
    """Stops the generation of a row when its function has ended; generation ends when all rows have."""

    def __init__(self, loaded: Loaded, width: int) -> None:
        self._loaded = loaded
        self._width = width

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        texts = self._loaded.tokenizer.batch_decode(ids[:, self._width :], skip_special_tokens=True)
        ended = [NEXT_STATEMENT.search("\n" + text) is not None for text in texts]
        return torch.tensor(ended, device=ids.device)
