"""How good a model is, and whether a quantised one is worse: offline, by item, with intervals and paired tests.

evaluation      evaluate a folder; the scores on disk
compare         B against A, pair by pair
statistics      bootstrap intervals, the test of paired signs
scores          what a benchmark is; the scores of its items
reference       the full model's logits, kept between evaluations
windows         perplexity, next-token accuracy and KL over held-out text
source_tasks    choices cut from Python source: lines, identifiers, brackets, indents
choices, likelihood   their scores, by the likelihood of each way to go on
humaneval/      the likelihood of HumanEval's solutions, and pass@1 in a sandbox
public_tasks    tasks of lm-eval, where it is installed
"""

from llm_quantize.evaluation.compare import Comparison, compare, corrected
from llm_quantize.evaluation.evaluation import DEFAULT, Evaluation, evaluate, read_evaluation
from llm_quantize.evaluation.scores import BENCHMARKS

__all__ = (
    "BENCHMARKS",
    "DEFAULT",
    "Comparison",
    "Evaluation",
    "compare",
    "corrected",
    "evaluate",
    "read_evaluation",
)
