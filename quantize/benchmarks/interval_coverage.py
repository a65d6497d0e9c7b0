"""How often the intervals of evaluations cover the truth, and how often the paired test finds what is not there.

    python quantize/benchmarks/interval_coverage.py [--trials 2000] [--check]

Simulated worlds look like our benchmarks: skewed losses of pieces from 27 documents of unequal length, alike within a
document; shares of hits near 1 with few items; pairs that seldom differ. Each world's truth is known. A 95% interval
covers it in 95% of trials; the test rejects a true hypothesis in 5%.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from llm_measure.results import check, machine, write
from llm_quantize.evaluation.compare import WIN_AND_LOSS
from llm_quantize.evaluation.scores import HITS_AND_MISSES
from llm_quantize.evaluation.statistics import Groups, mean_interval, sign_flip_p

DOCUMENTS = 27
Draw = Callable[[np.random.Generator], Groups]


def losses(rng: np.random.Generator) -> Groups:
    """Draw mean losses of documents: gamma with mean 1.8, pieces alike within a document, lengths log-normal."""
    weights = np.ceil(rng.lognormal(7.5, 0.8, DOCUMENTS))
    level = rng.gamma(4.0, 0.45, DOCUMENTS)
    noise = rng.gamma(2.0, 0.5, DOCUMENTS) - 1.0
    return Groups(weights * (level + 10.0 * noise / np.sqrt(weights)), weights)


def divergences(sigma: float) -> Draw:
    """Return a draw of the KL of 40 pieces: log-normal, mean exp(sigma^2 / 2); at 1 its skewness is 6.2."""
    return lambda rng: Groups(rng.lognormal(0.0, sigma, 40), np.ones(40))


def hits(share: float, items: int) -> Draw:
    """Return a draw of items that are 1 with a probability of `share`."""
    return lambda rng: Groups((rng.random(items) < share).astype(float), np.ones(items))


def pairs(wins: float, losses: float, items: int) -> Draw:
    """Return a draw of pairs that are 1, -1 or 0."""
    chances = (losses, 1 - wins - losses, wins)
    return lambda rng: Groups(rng.choice([-1.0, 0.0, 1.0], items, p=chances), np.ones(items))


def skewed_pairs(rng: np.random.Generator) -> Groups:
    """Draw differences of losses of 27 documents with mean 0: many small gains, a few large losses."""
    return Groups(rng.gamma(2.0, 0.5, DOCUMENTS) - 1.0, np.ones(DOCUMENTS))


WORLDS: dict[str, tuple[Draw, float, tuple[float, ...]]] = {
    "losses of 27 documents": (losses, 1.8, ()),
    "KL of 40 pieces": (divergences(0.5), float(np.exp(0.125)), ()),
    "KL of 40 pieces, far more skewed than ours": (divergences(1.0), float(np.exp(0.5)), ()),
    "hits of 200 items, 90%": (hits(0.9, 200), 0.9, HITS_AND_MISSES),
    "hits of 40 items, 97%": (hits(0.97, 40), 0.97, HITS_AND_MISSES),
    "hits of 164 items, 2%": (hits(0.02, 164), 0.02, HITS_AND_MISSES),
    "pairs of 200 items, 5% and 3%": (pairs(0.03, 0.05, 200), -0.02, WIN_AND_LOSS),
    "pairs of 164 items, 1% and 1%": (pairs(0.01, 0.01, 164), 0.0, WIN_AND_LOSS),
}
LEAST = {"KL of 40 pieces, far more skewed than ours": 0.88}
"""Lower bars, where no interval that we know of reaches 92%."""
NULLS: dict[str, Draw] = {
    "pairs of 200 items, 5% and 5%": pairs(0.05, 0.05, 200),
    "skewed differences of 27 documents": skewed_pairs,
}


def coverage(world: str, trials: int, seed: int = 0) -> float:
    """Return the share of trials whose interval holds the truth."""
    draw, truth, made_up = WORLDS[world]
    rng = np.random.default_rng(seed)
    held = 0
    for trial in range(trials):
        interval = mean_interval(draw(rng), made_up=made_up, seed=trial)
        held += interval.low <= truth <= interval.high
    return held / trials


def false_alarms(null: str, trials: int, seed: int = 0) -> float:
    """Return the share of trials in which the test finds a difference at 5% although there is none."""
    rng = np.random.default_rng(seed)
    return sum(sign_flip_p(NULLS[null](rng), seed=trial) <= 0.05 for trial in range(trials)) / trials


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--check", action="store_true", help="end with status 1 if a bar is broken")
    arguments = parser.parse_args()
    covered = {world: coverage(world, arguments.trials) for world in WORLDS}
    alarms = {null: false_alarms(null, arguments.trials) for null in NULLS}
    results = {"machine": machine(), "trials": arguments.trials, "coverage": covered, "false_alarms": alarms}
    bars = {f"coverage, {world}": (share, ">=", LEAST.get(world, 0.92)) for world, share in covered.items()}
    bars |= {f"false alarms, {null}": (share, "<=", 0.07) for null, share in alarms.items()}
    holds = check(results, bars)
    print(write(__file__, results))
    return 0 if holds or not arguments.check else 1


if __name__ == "__main__":
    raise SystemExit(main())
