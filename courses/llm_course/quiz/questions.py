"""The kinds of questions, as a quiz file spells them.

A quiz file is `courses/NN-slug/quiz.yaml`:

    module: 2
    figures:                        # optional: {name} in a text is a number from a results file
      ratio: "services/engine/results/continuous_batching.json :: continuous.ratio_to_static | .2f"
    questions:
      - id: evict-forgets           # stable: progress names it
        page: block-manager         # the page that answers it
        kind: single
        ask: Which …?
        options:
          - {text: …, right: true, why: …}
          - {text: …, why: …}
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1)]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Formula = Annotated[str, BeforeValidator(_as_text)]
"""An expression over a question's parameters; YAML may give a plain number."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Option(_Strict):
    text: Text
    right: bool = False
    why: Text
    """The reason that is shown when the option is chosen, or was missed."""


class Question(_Strict):
    id: Identifier
    page: Identifier
    ask: Text


class Choice(Question):
    """One right option (`single`) or several (`multiple`)."""

    kind: Literal["single", "multiple"]
    options: list[Option] = Field(min_length=3, max_length=6)

    @model_validator(mode="after")
    def _check(self) -> Choice:
        right = sum(option.right for option in self.options)
        if self.kind == "single" and right != 1:
            raise ValueError(f"{right} options are right; a single choice has exactly one")
        if self.kind == "multiple" and not 2 <= right < len(self.options):
            raise ValueError(f"{right} of {len(self.options)} options are right; it must be at least 2 and not all")
        if len({option.text for option in self.options}) < len(self.options):
            raise ValueError("two options have the same text")
        return self


class KnownWrong(_Strict):
    """A wrong value that somebody computes, by which mistake."""

    answer: Formula
    why: Text


class Number(Question):
    """A number by a formula over drawn parameters; `trace` questions have a recorded trace's queries as well."""

    kind: Literal["number", "trace"]
    given: dict[str, list[int | float]] = {}
    """Parameter -> values that it is drawn from."""
    let: dict[str, Formula] = {}
    """Name -> formula over parameters and the names before it; texts can show it as `{name}`."""
    answer: Formula
    unit: str = ""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Relative: 0.02 accepts 2% to either side."""
    wrong: list[KnownWrong] = Field(min_length=1)
    why: Text
    trace: str | None = None
    steps: tuple[int, int] | None = None
    """First and last step of the trace that are shown."""

    @model_validator(mode="after")
    def _check(self) -> Number:
        if (self.kind == "trace") != (self.trace is not None) or (self.trace is None) != (self.steps is None):
            raise ValueError("`trace` and `steps` belong to a trace question, and to no other")
        return self


class Pattern(_Strict):
    """A wrong answer in words, by a pattern."""

    pattern: str
    why: Text
    example: Text


class Short(Question):
    """A term or two, accepted by patterns; the whole answer has to match, whatever its case."""

    kind: Literal["short"]
    accept: list[str] = Field(min_length=1)
    example: Text
    """An accepted answer, shown with the reason."""
    wrong: list[Pattern] = []
    why: Text

    @model_validator(mode="after")
    def _check(self) -> Short:
        for pattern in (*self.accept, *(wrong.pattern for wrong in self.wrong)):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"pattern {pattern!r}: {error}") from None
        return self


class Mistake(_Strict):
    code: Text
    why: Text


class Code(Question):
    """A few lines to write, judged by hidden assertions whose messages are the reasons."""

    kind: Literal["code"]
    starter: Text
    solution: Text
    asserts: Text
    mistakes: list[Mistake] = Field(min_length=1)
    """Wrong programs that the assertions reject, each with its reason."""
    why: Text


AnyQuestion = Annotated[Choice | Number | Short | Code, Field(discriminator="kind")]


class Quiz(_Strict):
    module: Annotated[int, Field(ge=1, le=9)]
    figures: dict[str, str] = {}
    questions: list[AnyQuestion] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Quiz:
        seen: set[str] = set()
        for question in self.questions:
            if question.id in seen:
                raise ValueError(f"two questions have the id {question.id}")
            seen.add(question.id)
        return self

    def pick(self, ids: list[str]) -> list[AnyQuestion]:
        by_id = {question.id: question for question in self.questions}
        return [by_id[name] for name in ids]
