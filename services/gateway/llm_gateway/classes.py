"""Priority classes: what a client may ask for, and what it is promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_contract.errors import ApiError, ErrorKind


class PriorityClass(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    priority: int = Field(description="lower is sooner; vLLM's sense")
    ttft_target: float = Field(gt=0, description="seconds to the first token")
    tpot_target: float = Field(gt=0, description="seconds per output token after the first")
    max_queue: int = Field(256, ge=0, description="requests of this class that may wait")
    deadline: float | None = Field(None, gt=0, description="seconds from arrival to the last token")
    queue_timeout: float | None = Field(None, gt=0, description="seconds waited before 408; none: as long as it takes")
    hedge_after: float | None = Field(
        None, gt=0, description="seconds without a first byte before a stream is asked of a second engine, too"
    )
    share: float = Field(1.0, gt=0, le=1, description="part of all slots it may hold while other classes wait")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Only what cannot be kept is refused: one promise that rules another one out."""
        if self.deadline is not None and self.deadline < self.ttft_target:
            raise ValueError(
                f"class {self.name}: the deadline of {self.deadline:g} s is before the ttft_target of "
                f"{self.ttft_target:g} s; make the deadline at least that"
            )
        if self.deadline is not None and self.queue_timeout is not None and self.queue_timeout > self.deadline:
            raise ValueError(
                f"class {self.name}: a queue_timeout of {self.queue_timeout:g} s is after the deadline of "
                f"{self.deadline:g} s; make it at most that"
            )
        return self


DEFAULT_CLASSES = (
    PriorityClass(name="interactive", priority=0, ttft_target=0.5, tpot_target=0.1),
    PriorityClass(name="standard", priority=1, ttft_target=2.0, tpot_target=0.2),
    PriorityClass(name="batch", priority=2, ttft_target=30.0, tpot_target=1.0),
)


class ClassTable:
    """Finds the class of a request by name, which raises ApiError if there is none, or by vLLM's integer."""

    def __init__(self, classes: Sequence[PriorityClass], default: str) -> None:
        self.replace(classes, default)

    def replace(self, classes: Sequence[PriorityClass], default: str) -> None:
        """For a reload: everybody who holds the table sees the new classes at once."""
        self._by_name = {cls.name: cls for cls in classes}
        self._by_priority = sorted(classes, key=lambda cls: cls.priority)
        self.default = self._by_name[default]

    def __iter__(self) -> Iterator[PriorityClass]:
        return iter(self._by_name.values())

    def named(self, name: str) -> PriorityClass:
        found = self._by_name.get(name)
        if found is None:
            raise ApiError(
                ErrorKind.INVALID_REQUEST,
                f"unknown priority class {name[:64]!r}; the classes are {', '.join(self._by_name)}",
                param="x-priority",
            )
        return found

    def at(self, priority: int) -> PriorityClass:
        """The last class that is not less urgent than `priority`; the most urgent one if all are less urgent."""
        found = self._by_priority[0]
        for cls in self._by_priority:
            if cls.priority > priority:
                break
            found = cls
        return found
