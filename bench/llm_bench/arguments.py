"""Types of the command line's arguments. Each says what is wanted when it gets something else."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import NoReturn

from llm_bench.client.credentials import WHAT_A_NAME_IS, is_variable_name


def positive(text: str) -> float:
    value = _number(text)
    if value is None or not 0 < value < float("inf"):
        _refuse("a number above 0", text)
    return value


def share(text: str) -> float:
    value = _number(text)
    if value is None or not 0 < value <= 1:
        _refuse("a share above 0 and at most 1, such as 0.99", text)
    return value


def rates(text: str) -> list[float]:
    values = [_number(part) for part in text.split(",")]
    if not all(value is not None and 0 < value < float("inf") for value in values):
        _refuse("numbers above 0 with commas, such as 2,4,8", text)
    return sorted(value for value in values if value is not None)


def count(text: str) -> int:
    return _whole(text, at_least=1)


def seed(text: str) -> int:
    return _whole(text, at_least=0)


def pairs(text: str) -> int:
    return _whole(text, at_least=2, why=" (below that their spread is not known)")


def odd(text: str) -> int:
    value = _whole(text, at_least=1)
    if value % 2 == 0:
        _refuse("an odd number, so that there is a majority", text)
    return value


def variable(text: str) -> str:
    if not is_variable_name(text):
        raise ArgumentTypeError(WHAT_A_NAME_IS)  # does not repeat the text: it can be the key itself
    return text


def _whole(text: str, *, at_least: int, why: str = "") -> int:
    wanted = f"a whole number of {at_least} or more{why}"
    try:
        value = int(text)
    except ValueError:
        _refuse(wanted, text)
    if value < at_least:
        _refuse(wanted, text)
    return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _refuse(wanted: str, text: str) -> NoReturn:
    raise ArgumentTypeError(f"must be {wanted}, not {text!r}")
