"""Layers that keep 16 bits: the most error saved per weight, within the budget."""

from hypothesis import given
from hypothesis import strategies as st

from llm_quantize.algorithms.sensitivity import Sensitivity, choose_kept


def test_the_most_sensitive_per_weight_are_kept() -> None:
    groups = [Sensitivity(("a",), 1.0, 100), Sensitivity(("b", "c"), 0.9, 50), Sensitivity(("d",), 0.1, 50)]
    assert choose_kept(groups, 0.25) == ["b", "c"]
    assert choose_kept(groups, 0.0) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1000)), min_size=1, max_size=12), st.floats(0, 0.99))
def test_the_budget_holds(given_groups: list[tuple[float, int]], share: float) -> None:
    groups = [Sensitivity((str(index),), *each) for index, each in enumerate(given_groups)]
    kept = set(choose_kept(groups, share))
    weights = sum(group.weights for group in groups if kept.issuperset(group.layers))
    assert weights <= share * sum(group.weights for group in groups) + 1e-6
