"""`./lab cards`: review what is due in the terminal; `./lab cards anki`: the deck as a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from llm_course import syllabus
from llm_course.cards import deck, queue
from llm_course.cards.anki import write_deck
from llm_course.cards.deck import Card
from llm_course.cards.fsrs import GRADES
from llm_course.errors import CourseError
from llm_course.progress.commands import LOG
from llm_course.progress.log import Log, stamp


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    cards = commands.add_parser("cards", help="review the cards that are due")
    cards.set_defaults(command=_review)
    actions = cards.add_subparsers(metavar="ACTION")
    anki = actions.add_parser("anki", help="write all cards as an Anki deck; importing it again keeps your history")
    anki.add_argument("file", type=Path, nargs="?", default=Path("out/vllm-learning-project.apkg"))
    anki.set_defaults(command=_anki)
    check = actions.add_parser("check", help="what authors have to mend")
    check.set_defaults(command=_check)


def _anki(arguments: argparse.Namespace) -> None:
    cards = deck.cards()
    titles = {module.number: module.title for module in syllabus.load().modules}
    write_deck(cards, titles, arguments.file, int(time.time()))
    print(f"{arguments.file}: {len(cards)} cards")


def _check(_: argparse.Namespace) -> None:
    cards = deck.cards()
    found = list(deck.complaints(cards))
    if found:
        raise CourseError("\n".join(found))
    print(f"{len(cards)} cards")


def _review(_: argparse.Namespace) -> None:
    log, console = Log(LOG), Console()
    known = queue.standings(log.of("card"))
    waiting = queue.due(deck.cards(), known, queue.now())
    new = sum(card.id not in known for card in waiting)
    console.print(f"{len(waiting) - new} cards are due, and {new} are new. q leaves.")
    while waiting:
        card = waiting.pop(0)
        grade = _ask(console, card)
        if grade is None:
            return
        standing = queue.after(known.get(card.id), grade, queue.now())
        known[card.id] = standing
        log.add("card", card.id, grade=grade, due=stamp(standing.due))
        if standing.due - standing.last <= queue.AGAIN_AFTER:
            waiting.append(card)


def _ask(console: Console, card: Card) -> int | None:
    """Show front and back, and return the learner's grade; None to leave."""
    console.rule(f"module {card.module}: {card.page}")
    console.print(Markdown(card.front))
    if _read(console, "Enter shows the answer. ") == "q":
        return None
    console.print(Markdown(card.back))
    while (given := _read(console, "1 again, 2 hard, 3 good, 4 easy: ")) != "q":
        if given in map(str, GRADES):
            return int(given)
    return None


def _read(console: Console, prompt: str) -> str:
    """Return the line that the learner writes; q at the end of the input."""
    try:
        return console.input(prompt).strip()
    except EOFError:
        return "q"
