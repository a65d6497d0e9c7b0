"""The cards as the browser reads them: `docs/assets/generated/cards.js`, one call of `course.registerCards`."""

from __future__ import annotations

from pathlib import Path

from llm_course.cards import deck
from llm_course.prose import html


def scripts() -> dict[str, str]:
    """Return one file with all cards: its name -> its text."""
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
    return {"cards.js": html.script("registerCards", data)}


def write_cards(target: Path) -> list[Path]:
    """Write the script into the folder `target`, and return its path."""
    return html.write(target, scripts())
