"""Types of arguments, and the line of progress on a terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, not {text!r}")
    return int(text)


def counts(text: str) -> tuple[int, ...]:
    """Return whole numbers with commas between them."""
    return tuple(map(count, text.split(",")))


def positive(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Return words with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def show_progress(what: str, done: int, total: int) -> None:
    """Rewrite one line on the terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}: {done}/{total}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
