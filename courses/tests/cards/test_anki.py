"""The Anki deck: notes with stable guids, cards in their modules' subdecks, and the same file for the same cards."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from llm_course.cards.anki import SEPARATOR, write_deck
from llm_course.cards.deck import Card

CARDS = [
    Card("one", 1, "01-foundation", "p", "What is `a < b`?", "That."),
    Card("two", 2, "02-core-concepts", "q", "Which?", "This."),
]
TITLES = {1: "Foundation & Setup", 2: "Core Concepts"}


@contextmanager
def opened(path: Path, folder: Path) -> Iterator[sqlite3.Connection]:
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["collection.anki2", "media"]
        archive.extract("collection.anki2", folder)
    with closing(sqlite3.connect(folder / "collection.anki2")) as connection:
        yield connection


def test_notes_have_guids_that_follow_from_ids(tmp_path: Path) -> None:
    write_deck(CARDS, TITLES, tmp_path / "a.apkg", now=1_700_000_000)
    write_deck([CARDS[1], replace(CARDS[0], back="Something else.")], TITLES, tmp_path / "b.apkg", now=1_800_000_000)
    query = "select guid, id, flds from notes order by guid"
    with opened(tmp_path / "a.apkg", tmp_path / "a") as first, opened(tmp_path / "b.apkg", tmp_path / "b") as second:
        before, after = first.execute(query).fetchall(), second.execute(query).fetchall()
    assert [row[:2] for row in before] == [row[:2] for row in after]
    assert [row[0] for row in before] == ["llm-course/one", "llm-course/two"]
    assert before[0][2].split(SEPARATOR) == ["<p>What is <code>a &lt; b</code>?</p>", "<p>That.</p>", "p"]
    assert "Something else." in after[0][2]


def test_each_card_is_new_and_in_its_modules_deck(tmp_path: Path) -> None:
    write_deck(CARDS, TITLES, tmp_path / "a.apkg", now=1_700_000_000)
    with opened(tmp_path / "a.apkg", tmp_path) as connection:
        decks = json.loads(connection.execute("select decks from col").fetchone()[0])
        rows = connection.execute("select did, type, queue, due from cards order by due").fetchall()
        models = json.loads(connection.execute("select models from col").fetchone()[0])
        (note_types,) = connection.execute("select group_concat(distinct mid) from notes").fetchone()
    assert [decks[str(row[0])]["name"] for row in rows] == [
        "vLLM Learning Project::1 Foundation & Setup",
        "vLLM Learning Project::2 Core Concepts",
    ]
    assert [row[1:] for row in rows] == [(0, 0, 0), (0, 0, 1)]
    assert list(models) == [note_types]
