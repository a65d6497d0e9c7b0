from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import DEFAULT_CLASSES, ClassTable, PriorityClass


@pytest.fixture
def table() -> ClassTable:
    return ClassTable(DEFAULT_CLASSES, "standard")


def test_the_default_class_is_the_one_named(table: ClassTable) -> None:
    assert table.default.name == "standard"
    assert [cls.name for cls in table] == ["interactive", "standard", "batch"]


def test_an_unknown_name_is_refused_and_the_classes_are_named(table: ClassTable) -> None:
    with pytest.raises(ApiError, match=r"'urgent'.*interactive, standard, batch") as caught:
        table.named("urgent")
    assert caught.value.kind is ErrorKind.INVALID_REQUEST


@pytest.mark.parametrize(
    ("priority", "name"),
    [(-(2**70), "interactive"), (-1, "interactive"), (0, "interactive"), (1, "standard"), (2, "batch"), (99, "batch")],
)
def test_an_integer_maps_to_the_class_at_its_level_and_is_clamped(table: ClassTable, priority: int, name: str) -> None:
    assert table.at(priority).name == name


def test_between_two_levels_the_more_urgent_class_has_it() -> None:
    classes = [
        PriorityClass(name="low", priority=100, ttft_target=1, tpot_target=1),
        PriorityClass(name="high", priority=10, ttft_target=1, tpot_target=1),
    ]
    table = ClassTable(classes, "low")
    assert [table.at(priority).name for priority in (0, 10, 99, 100)] == ["high", "high", "high", "low"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"deadline": 0.5}, "class low: the deadline of 0.5 s is shorter than the ttft_target of 1 s"),
        ({"deadline": 5, "queue_timeout": 6}, "class low: the queue_timeout of 6 s is longer than the deadline of 5 s"),
        ({"deadline": 0}, "deadline"),
        ({"queue_timeout": -1}, "queue_timeout"),
        ({"share": 0}, "share"),
        ({"share": 1.1}, "share"),
    ],
)
def test_promises_that_cannot_all_be_kept_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PriorityClass(name="low", priority=1, ttft_target=1, tpot_target=1, **given)


def test_promises_that_can_be_kept_are_taken() -> None:
    cls = PriorityClass(
        name="low", priority=1, ttft_target=1, tpot_target=1, deadline=1, queue_timeout=1, share=0.5, max_queue=0
    )
    assert (cls.deadline, cls.queue_timeout, cls.share) == (1, 1, 0.5)
    assert [one.share for one in DEFAULT_CLASSES] == [1, 1, 1]


def test_all_holders_of_the_table_see_replaced_classes(table: ClassTable) -> None:
    table.replace([cls.model_copy(update={"ttft_target": 9.0}) for cls in DEFAULT_CLASSES], "batch")
    assert table.default.name == "batch"
    assert table.named("interactive").ttft_target == 9
    assert table.at(0).ttft_target == 9
