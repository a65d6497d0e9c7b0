"""Silences: label conditions that mute notifications for a while. The alert itself is still shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from llm_monitor.series import Labels, Matcher

MAX_SILENCES: Final = 1_000
RETENTION: Final = 7 * 86400.0
"""Seconds for which a silence that ended is still listed."""


class InvalidSilence(ValueError):
    """The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Silence:
    id: str
    matchers: tuple[Matcher, ...]
    starts: float
    ends: float
    created_by: str
    comment: str

    def mutes(self, labels: Mapping[str, str], at: float) -> bool:
        in_time = self.starts <= at < self.ends
        return in_time and all(matcher.matches(labels.get(matcher.name, "")) for matcher in self.matchers)

    def dump(self) -> dict[str, Any]:
        matchers = [[each.name, each.operator, each.value] for each in self.matchers]
        return {name: getattr(self, name) for name in self.__slots__} | {"matchers": matchers}

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> Self:
        """Return the silence of `dump`. Raises TypeError or ValueError for anything else."""
        return cls(**{**values, "matchers": tuple(Matcher(*each) for each in values["matchers"])})


class Silences:
    def __init__(self) -> None:
        self._silences: dict[str, Silence] = {}

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._silences.values())

    def add(
        self, matchers: Sequence[Matcher], *, starts: float, ends: float, created_by: str = "", comment: str = ""
    ) -> Silence:
        """Add a silence. Raises InvalidSilence."""
        if ends <= starts:
            raise InvalidSilence("a silence must end after it starts")
        if not any(not matcher.matches("") for matcher in matchers):
            raise InvalidSilence(
                'a silence needs a condition that not every alert meets, such as alertname="TargetDown"'
            )
        if len(self._silences) >= MAX_SILENCES:
            raise InvalidSilence(f"there are {MAX_SILENCES} silences already; end some of them")
        silence = Silence(str(uuid.uuid4()), tuple(matchers), starts, ends, created_by, comment)
        self._silences[silence.id] = silence
        return silence

    def expire(self, id: str, at: float) -> None:
        """End a silence now. Raises KeyError if there is none of that id."""
        silence = self._silences[id]
        self._silences[id] = replace(silence, ends=min(silence.ends, at))

    def muted_by(self, labels: Labels, at: float) -> list[str]:
        """Return the ids of the silences that mute an alert."""
        values = dict(labels)
        return [silence.id for silence in self._silences.values() if silence.mutes(values, at)]

    def forget(self, at: float) -> None:
        """Drop silences that ended long ago."""
        self._silences = {id: each for id, each in self._silences.items() if at < each.ends + RETENTION}

    def restore(self, silences: Iterable[Silence]) -> None:
        self._silences.update((silence.id, silence) for silence in silences)
