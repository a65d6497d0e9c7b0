"""Priority classes: the names that a client can ask for, and the latency that each one promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_contract.errors import ApiError, ErrorKind

UNCLASSIFIED = "unclassified"
"""Class label of requests that failed before they had a class."""


class PriorityClass(BaseModel):
    """One priority class: its urgency, its targets and its bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    priority: int = Field(description="lower is more urgent, as in vLLM")
    ttft_target: float = Field(gt=0, description="seconds to the first token")
    tpot_target: float = Field(gt=0, description="seconds per output token after the first")
    max_queue: int = Field(256, ge=0, description="most requests of this class that wait")
    deadline: float | None = Field(None, gt=0, description="seconds from arrival to the last token")
    queue_timeout: float | None = Field(None, gt=0, description="seconds in the queue before 408; none: unlimited")
    hedge_after: float | None = Field(
        None,
        gt=0,
        description="seconds without a first byte after which a stream is requested from a second engine as well",
    )
    share: float = Field(1.0, gt=0, le=1, description="part of all slots that it can hold while other classes wait")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Refuse only promises that contradict each other."""
        if self.deadline is not None and self.deadline < self.ttft_target:
            raise ValueError(
                f"class {self.name}: the deadline of {self.deadline:g} s is shorter than the ttft_target of "
                f"{self.ttft_target:g} s; raise the deadline to at least that"
            )
        if self.deadline is not None and self.queue_timeout is not None and self.queue_timeout > self.deadline:
            raise ValueError(
                f"class {self.name}: the queue_timeout of {self.queue_timeout:g} s is longer than the deadline of "
                f"{self.deadline:g} s; lower the queue_timeout to at most that"
            )
        return self


DEFAULT_CLASSES = (
    PriorityClass(name="interactive", priority=0, ttft_target=0.5, tpot_target=0.1),
    PriorityClass(name="standard", priority=1, ttft_target=2.0, tpot_target=0.2),
    PriorityClass(name="batch", priority=2, ttft_target=30.0, tpot_target=1.0),
)


class ClassTable:
    """The configured classes, found by name or by vLLM's integer priority."""

    def __init__(self, classes: Sequence[PriorityClass], default: str) -> None:
        self.replace(classes, default)

    def replace(self, classes: Sequence[PriorityClass], default: str) -> None:
        """Exchange the classes on a reload. All holders of the table see the new classes at once."""
        self._by_name = {cls.name: cls for cls in classes}
        self._by_priority = sorted(classes, key=lambda cls: cls.priority)
        self.default = self._by_name[default]

    def __iter__(self) -> Iterator[PriorityClass]:
        return iter(self._by_name.values())

    def named(self, name: str) -> PriorityClass:
        """Return the class of that name. Raise ApiError (400) if there is none."""
        found = self._by_name.get(name)
        if found is None:
            raise ApiError(
                ErrorKind.INVALID_REQUEST,
                f"unknown priority class {name[:64]!r}; the classes are {', '.join(self._by_name)}",
                param="x-priority",
            )
        return found

    def at(self, priority: int) -> PriorityClass:
        """Return the least urgent class that is at least as urgent as `priority`, else the most urgent class."""
        found = self._by_priority[0]
        for cls in self._by_priority:
            if cls.priority > priority:
                break
            found = cls
        return found
