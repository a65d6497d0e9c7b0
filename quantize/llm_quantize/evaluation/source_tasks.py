"""Choices cut from Python source: the continuation that stands in the file, and wrong ones next to it.

lines         the line, or the same line corrupted: two tokens swapped, or a name or an operator replaced
identifiers   a name that occurred before, or three other names from the context
brackets      the brackets that close at a line's end, or one less, one more, or one of another kind
indents       the indentation of the next line, or that of another open block

All draws are seeded, and an item is at most a few lines from its source: the same text gives the same items.
"""

from __future__ import annotations

import ast
import bisect
import io
import keyword
import random
import re
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.model import split_documents
from llm_quantize.evaluation.statistics import FEWEST_GROUPS

CONTEXT_CHARACTERS = 500
ITEMS = 200
"""Most items of a task, if no other number is asked for."""
CLOSING = (")", "]", "}")
OPERATORS = ("+", "-", "*", "/", "==", "!=", "<", ">", "<=", ">=", "=", ".", ",", ":")
OTHER_NAMES = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A context and ways to go on; the first is the true one."""

    context: str
    options: tuple[str, ...]
    document: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the source with its place in the text, by characters."""

    kind: int
    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document's text, its tokens, and the place where each line begins."""

    name: str
    text: str
    tokens: list[Token]

    def context(self, end: int) -> str:
        """Return the whole lines before `end`, at most about CONTEXT_CHARACTERS, and the beginning of its own line."""
        begin = max(0, end - CONTEXT_CHARACTERS)
        return self.text[self.text.rfind("\n", 0, begin) + 1 if begin else 0 : end]


def make_choices(task: str, text: str, items: int | None = None, seed: int = 0) -> list[Choice]:
    """Return the task's items, at most `items`, in a seeded random order over all documents.

    Raises EvaluationError if the text has none.
    """
    rng = random.Random(f"{task} {seed}")
    found = [choice for document in read_documents(text) for choice in TASKS[task](document, rng)]
    found = list({(choice.context, choice.options): choice for choice in found}.values())
    if len(found) < FEWEST_GROUPS:
        raise EvaluationError(
            f"{task}: the text has {len(found)} such places; it needs Python source, such as a module"
        )
    rng.shuffle(found)
    return found[: ITEMS if items is None else items]


def read_documents(text: str) -> list[Document]:
    """Return the documents that are Python source."""
    found = []
    for number, document in enumerate(split_documents(text)):
        try:
            with warnings.catch_warnings(action="ignore"):
                ast.parse(document)
            found.append(Document(f"document {number}", document, list(_tokens(document))))
        except (tokenize.TokenError, SyntaxError, ValueError):
            continue
    return found


def _tokens(text: str) -> Iterator[Token]:
    starts = [0]
    for line in io.StringIO(text):
        starts.append(starts[-1] + len(line))
    for one in tokenize.generate_tokens(io.StringIO(text).readline):
        first, last = (starts[min(row - 1, len(starts) - 1)] + column for row, column in (one.start, one.end))
        yield Token(one.type, one.string, first, last)


def lines(document: Document, rng: random.Random) -> Iterator[Choice]:
    for row in _logical_lines(document):
        first, last = row[0].first, row[-1].last
        line = document.text[first:last]
        if len(row) < 4 or "\n" in line:
            continue
        context = document.context(first)
        corrupted = _corrupt(document, row, rng)
        if context.strip() and corrupted not in (None, line):
            yield Choice(context, (f"{line}\n", f"{corrupted}\n"), document.name)


def _logical_lines(document: Document) -> Iterator[list[Token]]:
    row: list[Token] = []
    for token in document.tokens:
        if token.kind == tokenize.NEWLINE:
            if row:
                yield row
            row = []
        elif token.kind not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER):
            row.append(token)


def _corrupt(document: Document, row: Sequence[Token], rng: random.Random) -> str | None:
    """Return the line with one mistake, None if the chosen kind of mistake has no place in it."""
    kind = rng.choice(("swap", "name", "operator"))
    texts = [token.text for token in row]
    if kind == "swap":
        places = [place for place in range(len(row) - 1) if texts[place] != texts[place + 1]]
        place = rng.choice(places) if places else 0
        texts[place], texts[place + 1] = texts[place + 1], texts[place]
    else:
        wanted: Callable[[Token], bool] = is_name if kind == "name" else lambda token: token.text in OPERATORS
        places = [place for place, token in enumerate(row) if wanted(token)]
        known = _names(document, row[0].first) if kind == "name" else list(OPERATORS)
        if not places or len(known) < 2:
            return None
        place = rng.choice(places)
        texts[place] = rng.choice([text for text in known if text != texts[place]])
    gaps = [document.text[a.last : b.first] for a, b in pairwise(row)]
    return "".join(part for pair in zip(texts, [*gaps, ""], strict=True) for part in pair)


def identifiers(document: Document, rng: random.Random) -> Iterator[Choice]:
    for place, token in enumerate(document.tokens[:-1]):
        if not is_name(token):
            continue
        known = _names(document, token.first)
        others = [name for name in known if name != token.text]
        if token.text not in known or len(others) < OTHER_NAMES:
            continue
        after = document.text[token.last : document.tokens[place + 1].last][:2] or "\n"
        options = [token.text, *rng.sample(others, OTHER_NAMES)]
        yield Choice(document.context(token.first), tuple(name + after for name in options), document.name)


def brackets(document: Document, rng: random.Random) -> Iterator[Choice]:
    """Yield brackets that close before a line's end, against one bracket less, one more, and one of another kind."""
    for match in re.finditer(r"[)\]}]+(?=[:,]?\n)", document.text):
        run = match[0]
        after = document.text[match.end() : document.text.find("\n", match.end()) + 1]
        if not _is_code(document, match.start()):
            continue
        other = rng.choice([one for one in CLOSING if one != run[-1]])
        options = (run, run[:-1], run + run[-1], run[:-1] + other)
        yield Choice(document.context(match.start()), tuple(one + after for one in options), document.name)


def _is_code(document: Document, place: int) -> bool:
    """Return whether an operator begins at `place`: it is in no comment and no string."""
    index = _index(document, place)
    return any(token.kind == tokenize.OP and token.first == place for token in document.tokens[index : index + 2])


def indents(document: Document, rng: random.Random) -> Iterator[Choice]:
    """Yield a line's start after a complete statement: as many lines that stay in their block as ones that leave it."""
    levels = [""]
    stay: list[Choice] = []
    leave: list[Choice] = []
    for previous, token, after in zip(document.tokens, document.tokens[1:], document.tokens[2:], strict=False):
        if token.kind == tokenize.INDENT:
            levels.append(token.text)
        elif token.kind == tokenize.DEDENT:
            levels.pop()
        if previous.kind not in (tokenize.NEWLINE, tokenize.DEDENT) or token.kind != tokenize.NAME:
            continue
        begin = document.text.rfind("\n", 0, token.first) + 1
        level = document.text[begin : token.first]
        open_before = [*levels, *_closed(document, begin)] if previous.kind == tokenize.DEDENT else levels
        others = [one for one in dict.fromkeys(open_before) if one != level]
        if level not in levels or not others or not begin:
            continue
        word = token.text + document.text[token.last : after.first] + after.text[:1]
        options = tuple(f"{one}{word}" for one in (level, *others))
        (leave if previous.kind == tokenize.DEDENT else stay).append(
            Choice(document.context(begin), options, document.name)
        )
    yield from rng.sample(stay, min(len(stay), len(leave)))
    yield from leave


def _closed(document: Document, begin: int) -> list[str]:
    """Return the indentation of the last line with text before `begin`: the block that was just left."""
    last = document.text[:begin].rstrip().rpartition("\n")[2]
    return [last[: len(last) - len(last.lstrip())]]


def is_name(token: Token) -> bool:
    """Return whether a token is an identifier of some length, and no keyword."""
    return token.kind == tokenize.NAME and len(token.text) > 2 and not keyword.iskeyword(token.text)


def _names(document: Document, end: int) -> list[str]:
    """Return the distinct names in the context of `end`, in order."""
    first, last = (_index(document, place) for place in (end - len(document.context(end)), end))
    return list(dict.fromkeys(token.text for token in document.tokens[first:last] if is_name(token)))


def _index(document: Document, place: int) -> int:
    """Return the index of the first token that begins at `place` or behind it."""
    return bisect.bisect_left(document.tokens, place, key=lambda token: token.first)


TASKS: dict[str, Callable[[Document, random.Random], Iterator[Choice]]] = {
    "lines": lines,
    "identifiers": identifiers,
    "brackets": brackets,
    "indents": indents,
}
