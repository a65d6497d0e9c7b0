"""The cards as an Anki deck: an .apkg file, which is a zip of an SQLite database.

Anki knows a note by its guid, which follows from the card's id: importing the deck again updates texts and keeps the
learner's history. The database is Anki's schema 11, which every version since 2.0 imports; its tables and the JSON
in `col` are those of https://github.com/ankidroid/Anki-Android/wiki/Database-Structure.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_course.cards.deck import Card
from llm_course.prose import html

NAME = "vLLM Learning Project"
MODEL_ID = 1_764_400_001_000
SEPARATOR = "\x1f"
"""Between a note's fields."""
STYLE = """.card { font: 18px/1.5 system-ui, sans-serif; max-width: 40em; margin: 1em auto; text-align: left }
code { font-family: ui-monospace, monospace; background: #8881; padding: 0 .25em; border-radius: 3px }
pre { overflow-x: auto } table { border-collapse: collapse } td, th { border: 1px solid #8885; padding: .2em .6em }"""
TABLES = """
create table col (id integer primary key, crt integer, mod integer, scm integer, ver integer, dty integer,
  usn integer, ls integer, conf text, models text, decks text, dconf text, tags text);
create table notes (id integer primary key, guid text, mid integer, mod integer, usn integer, tags text, flds text,
  sfld text, csum integer, flags integer, data text);
create table cards (id integer primary key, nid integer, did integer, ord integer, mod integer, usn integer,
  type integer, queue integer, due integer, ivl integer, factor integer, reps integer, lapses integer, left integer,
  odue integer, odid integer, flags integer, data text);
create table revlog (id integer primary key, cid integer, usn integer, ease integer, ivl integer, lastIvl integer,
  factor integer, time integer, type integer);
create table graves (usn integer, oid integer, type integer);
create index ix_notes_csum on notes (csum);
create index ix_cards_nid on cards (nid);
"""


def write_deck(deck: Sequence[Card], titles: dict[int, str], path: Path, now: int) -> None:
    """Write an .apkg file. `titles`: module -> name of its subdeck; `now`: seconds since 1970, the texts' age."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "collection.anki2"
        connection = sqlite3.connect(database)
        try:
            connection.executescript(TABLES)
            connection.execute(f"insert into col values ({', '.join('?' * 13)})", _collection(deck, titles, now))
            for place, card in enumerate(deck):
                connection.execute(f"insert into notes values ({', '.join('?' * 11)})", _note(card, now))
                connection.execute(f"insert into cards values ({', '.join('?' * 18)})", _card(card, place, now))
            connection.commit()
        finally:
            connection.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(database, "collection.anki2")
            archive.writestr("media", "{}")


def guid(card: Card) -> str:
    return f"llm-course/{card.id}"


def number(name: str) -> int:
    """Return an id that follows from a name: 13 digits, as Anki's, which are times in milliseconds."""
    return 10**12 + int.from_bytes(sha256(name.encode()).digest()[:6], "big") % 10**11


def deck_id(module: int) -> int:
    return number(f"deck/{module}")


def _note(card: Card, now: int) -> tuple[Any, ...]:
    front, back = html.block(card.front), html.block(card.back)
    checksum = int(sha256(front.encode()).hexdigest()[:8], 16)
    tags = f" module-{card.module} {card.page} "
    fields = SEPARATOR.join([front, back, card.page])
    return (number(f"note/{card.id}"), guid(card), MODEL_ID, now, -1, tags, fields, front, checksum, 0, "")


def _card(card: Card, place: int, now: int) -> tuple[Any, ...]:
    """Return a new card, whose due number is its place in the deck."""
    ids = (number(f"card/{card.id}"), number(f"note/{card.id}"), deck_id(card.module))
    return (*ids, 0, now, -1, 0, 0, place, *[0] * 8, "")


def _collection(deck: Sequence[Card], titles: dict[int, str], now: int) -> tuple[Any, ...]:
    modules = sorted({card.module for card in deck})
    decks = {str(1): _deck(1, "Default", now), str(deck_id(0)): _deck(deck_id(0), NAME, now)}
    for module in modules:
        decks[str(deck_id(module))] = _deck(deck_id(module), f"{NAME}::{module} {titles[module]}", now)
    configuration = {"nextPos": len(deck), "curDeck": deck_id(0), "activeDecks": [deck_id(0)], "schedVer": 2}
    documents: tuple[dict[str, Any], ...] = (configuration, {str(MODEL_ID): _model(now)}, decks, {"1": _options()}, {})
    return (1, now, now * 1000, now * 1000, 11, 0, 0, 0, *map(json.dumps, documents))


def _deck(id: int, name: str, now: int) -> dict[str, Any]:
    today = {key: [0, 0] for key in ("newToday", "revToday", "lrnToday", "timeToday")}
    rest = {"desc": "", "dyn": 0, "collapsed": False, "conf": 1, "extendNew": 0, "extendRev": 0, "usn": -1}
    return {"id": id, "name": name, "mod": now, **today, **rest}


def _options() -> dict[str, Any]:
    """Return the default deck options, which an import does not take over."""
    new = {"delays": [1, 10], "ints": [1, 4, 7], "initialFactor": 2500, "order": 1, "perDay": 20, "bury": False}
    review = {"perDay": 200, "ease4": 1.3, "ivlFct": 1, "maxIvl": 36500, "bury": False, "hardFactor": 1.2}
    lapse = {"delays": [10], "mult": 0, "minInt": 1, "leechFails": 8, "leechAction": 0}
    rest = {"maxTaken": 60, "timer": 0, "autoplay": True, "replayq": True, "mod": 0, "usn": 0}
    return {"id": 1, "name": "Default", "new": new, "rev": review, "lapse": lapse, **rest}


def _model(now: int) -> dict[str, Any]:
    look = {"font": "Arial", "size": 20, "media": [], "rtl": False, "sticky": False}
    names = ("Front", "Back", "Page")
    template = {
        "name": "Card 1",
        "ord": 0,
        "qfmt": "{{Front}}",
        "afmt": "{{FrontSide}}<hr id=answer>{{Back}}",
        "did": None,
        "bqfmt": "",
        "bafmt": "",
    }
    return {
        "id": MODEL_ID,
        "name": f"{NAME} card",
        "type": 0,
        "mod": now,
        "usn": -1,
        "sortf": 0,
        "did": None,
        "tmpls": [template],
        "flds": [{"name": name, "ord": place, **look} for place, name in enumerate(names)],
        "css": STYLE,
        "latexPre": "",
        "latexPost": "",
        "tags": [],
        "vers": [],
        "req": [[0, "any", [0]]],
    }
