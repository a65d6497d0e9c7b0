"""Cards from `courses/NN-slug/cards.yaml`: atomic, each of one page.

module: 2
figures:                              # optional, as in a quiz
  ratio: "services/engine/results/continuous_batching.json :: continuous.ratio_to_static | .2f"
cards:
  - id: block-states                  # stable: progress and Anki know the card by it
    page: block-manager
    front: Which three states can a KV block be in?
    back: Free, cached, owned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_course.errors import CourseError
from llm_course.paths import COURSES
from llm_course.prose import figures, references

NAME = "cards.yaml"
MOST_BACK = 320
"""Characters of an answer: a card that needs more is two cards."""
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, Field(min_length=1)]


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Identifier
    page: Identifier
    front: Text
    back: Annotated[str, Field(min_length=1, max_length=MOST_BACK)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    module: Annotated[int, Field(ge=1, le=9)]
    figures: dict[str, str] = {}
    cards: list[_Card]


@dataclass(frozen=True, slots=True)
class Card:
    id: str
    module: int
    slug: str
    """The module's folder, `02-core-concepts`."""
    page: str
    front: str
    """Markdown."""
    back: str


def cards(courses: Path = COURSES) -> list[Card]:
    """Read every module's cards; CourseError if one is broken, or if two have the same id."""
    found = [card for path in sorted(courses.glob(f"[0-9][0-9]-*/{NAME}")) for card in read(path)]
    seen: dict[str, Card] = {}
    for card in found:
        if card.id in seen:
            raise CourseError(f"two cards have the id {card.id}: in {seen[card.id].slug} and in {card.slug}")
        seen[card.id] = card
    return found


def read(path: Path) -> list[Card]:
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise CourseError(f"{path}: no YAML ({error})") from None
    except ValidationError as error:
        lines = [f"{path}: {', '.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise CourseError("\n".join(lines)) from None
    slug = path.parent.name
    if not slug.startswith(f"{file.module:02}-"):
        raise CourseError(f"{path}: says module {file.module}, and lies in {slug}")
    values = figures.table(file.figures)
    return [
        Card(card.id, file.module, slug, card.page, figures.fill(card.front, values), figures.fill(card.back, values))
        for card in file.cards
    ]


def complaints(deck: list[Card]) -> Iterator[str]:
    """Say which cards name files or symbols that are not there, and which ask the same."""
    fronts: dict[str, str] = {}
    for card in deck:
        for text in references.complaints(f"{card.front} {card.back}"):
            yield f"card {card.id}: {text}"
        if card.front in fronts:
            yield f"card {card.id}: asks what {fronts[card.front]} asks"
        fronts[card.front] = card.id
