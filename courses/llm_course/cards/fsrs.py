"""FSRS-6, the free spaced repetition scheduler: when should a card be shown again?

A memory of a card has a stability S, the days after which it is recalled with probability 0.9, and a difficulty D from
1 to 10. Recall fades as a power of time, R(t) = (1 + f · t / S)^-w20, where f makes R(S) = 0.9. A review with grade 1
(again), 2 (hard), 3 (good) or 4 (easy) changes S and D; the card is due when R falls to 0.9, after S days.

Source: formulas and default parameters of FSRS-6,
https://github.com/open-spaced-repetition/fsrs4anki/wiki/The-Algorithm (Ye, Su and Cao, "A stochastic shortest path
algorithm for optimizing spaced repetition scheduling", KDD 2022). docs/assets/js/fsrs.js has the same functions.
tests/cards/fsrs_vectors.json holds both: py-fsrs 6.3.2 wrote it, with no learning steps and no fuzz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

W = (
    *(0.212, 1.2931, 2.3065, 8.2956),  # stability after a first review
    *(6.4133, 0.8334, 3.0194, 0.001),  # difficulty
    *(1.8722, 0.1666, 0.796),  # recalled
    *(1.4835, 0.0614, 0.2629, 1.6483),  # forgotten
    *(0.6014, 1.8729),  # hard, easy
    *(0.5425, 0.0912, 0.0658),  # again on the same day
    0.1542,  # decay
)
RETENTION = 0.9
LONGEST = 36_500
"""Days."""
SHORTEST_STABILITY = 0.001
AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4
GRADES = (AGAIN, HARD, GOOD, EASY)
FACTOR: float = RETENTION ** (-1 / W[20]) - 1


@dataclass(frozen=True, slots=True)
class Memory:
    stability: float
    """Days."""
    difficulty: float
    """1 (easy) to 10."""


def review(memory: Memory | None, grade: int, days: int) -> Memory:
    """Return the memory after a review, `days` whole days after the one before; None: the card was new."""
    if memory is None:
        return Memory(W[grade - 1], _within(_first_difficulty(grade)))
    if days < 1:
        stability = _same_day(memory.stability, grade)
    elif grade == AGAIN:
        stability = _forgotten(memory, recall(memory, days))
    else:
        stability = _recalled(memory, recall(memory, days), grade)
    return Memory(max(stability, SHORTEST_STABILITY), _difficulty(memory.difficulty, grade))


def recall(memory: Memory, days: int) -> float:
    """Return the probability of recall after this number of days."""
    return float((1 + FACTOR * days / memory.stability) ** -W[20])


def interval(memory: Memory) -> int:
    """Return the days until recall has fallen to RETENTION, at least 1."""
    return min(max(math.floor(memory.stability + 0.5), 1), LONGEST)


def _first_difficulty(grade: int) -> float:
    return W[4] - math.exp(W[5] * (grade - 1)) + 1


def _difficulty(difficulty: float, grade: int) -> float:
    """Change less the nearer to 10, and drift a little to the difficulty of an easy card."""
    changed = difficulty - W[6] * (grade - 3) * (10 - difficulty) / 9
    return _within(W[7] * _first_difficulty(EASY) + (1 - W[7]) * changed)


def _recalled(memory: Memory, recall: float, grade: int) -> float:
    bonus = {HARD: W[15], GOOD: 1.0, EASY: W[16]}[grade]
    surprise = math.exp(W[10] * (1 - recall)) - 1
    growth = math.exp(W[8]) * (11 - memory.difficulty) * memory.stability ** -W[9] * surprise * bonus
    return float(memory.stability * (1 + growth))


def _forgotten(memory: Memory, recall: float) -> float:
    long = W[11] * memory.difficulty ** -W[12] * ((memory.stability + 1) ** W[13] - 1) * math.exp(W[14] * (1 - recall))
    return float(min(long, memory.stability / math.exp(W[17] * W[18])))


def _same_day(stability: float, grade: int) -> float:
    growth = math.exp(W[17] * (grade - 3 + W[18])) * stability ** -W[19]
    return float(stability * (growth if grade == AGAIN else max(growth, 1)))


def _within(difficulty: float) -> float:
    return min(max(difficulty, 1.0), 10.0)
