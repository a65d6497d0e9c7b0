"""The cards as the browser reads them: `docs/assets/generated/cards.js`, one call of `course.registerCards`."""

from __future__ import annotations

from pathlib import Path

from llm_course.cards import deck
from llm_course.prose import html


def write_cards(target: Path) -> list[Path]:
    """Write all cards into a file in the folder `target`, and return the file."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / "cards.js"
    data = [
        {
            "id": card.id,
            "module": card.module,
            "slug": card.slug,
            "page": card.page,
            "front": html.block(card.front),
            "back": html.block(card.back),
        }
        for card in deck.cards()
    ]
    path.write_text(html.script("registerCards", data), encoding="utf-8")
    return [path]
