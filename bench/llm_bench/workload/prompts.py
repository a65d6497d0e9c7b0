"""Prompts cut from a text, tokenised before the clock starts: unique unless the scenario shares something on purpose.

Every prompt begins with a tag that no other prompt of any run has, so no two share even their first cache block: the
target's prefix cache cannot answer what the scenario meant to be computed. The tag is drawn from the run's salt; two
runs of one seed send the same lengths at the same times but hit nothing that the other left in the cache.

What is shared on purpose stands before the tag: a class's common prefix, the blocks of a recorded prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_bench.errors import ScenarioError

CHARACTERS_PER_TOKEN = 3
"""Used without a tokenizer: about what a small byte-level BPE makes of source code."""

SPREAD = 0x9E3779B1
"""2^32 over the golden ratio, odd: successive multiples lie far apart."""

BUILT_IN = Path("models") / "eval" / "heldout.txt"

Truncate = Callable[[str, int], tuple[str, int]]
"""(text, tokens) to (text shortened to about that many tokens, how many it has)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: int


def find_corpus(given: Path | None = None) -> Path:
    """Return `given`, or the repository's held-out text seen from this package or the working directory.

    Without either: this package's folder, whose source code is text as well.
    """
    if given is not None:
        return given
    for root in (*Path(__file__).resolve().parents, Path.cwd(), *Path.cwd().parents):
        if (root / BUILT_IN).is_file():
            return root / BUILT_IN
    return Path(__file__).parent


def read_corpus(path: Path) -> str:
    """Return the text of a file, or of every Python file of a folder. Raises ScenarioError."""
    try:
        if path.is_dir():
            return "\n".join(file.read_text(encoding="utf-8") for file in sorted(path.glob("*.py")))
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ScenarioError(f"{path}: the corpus cannot be read: {error}") from error
    if not text.strip():
        raise ScenarioError(f"{path}: the corpus is empty")
    return text


def draw_prompts(
    corpus: str, lengths: Sequence[int], rng: np.random.Generator, salt: str, *, truncate: Truncate
) -> list[Prompt]:
    """One unique prompt per length, in tokens, each starting at its own random line of the corpus."""
    starts = [0, *(index + 1 for index, char in enumerate(corpus) if char == "\n" and index + 1 < len(corpus))]
    chosen = rng.choice(len(starts), size=len(lengths))
    prompts = []
    for index, (length, line) in enumerate(zip(lengths, chosen, strict=True)):
        text, tokens = truncate(_tag(salt, index) + _slice(corpus, starts[line], 8 * length), length)
        prompts.append(Prompt(text, tokens))
    return prompts


def tag_prompts(texts: Sequence[str], lengths: Sequence[int], salt: str, truncate: Truncate) -> list[Prompt]:
    """Given texts, each made unique and cut to at most its length."""
    return [
        Prompt(*truncate(_tag(salt, index) + text, length))
        for index, (text, length) in enumerate(zip(texts, lengths, strict=True))
    ]


def named_text(corpus: str, name: str, length: int, salt: str, *, truncate: Truncate) -> Prompt:
    """The same text for the same name, within a run: what several prompts share."""
    digest = hashlib.blake2b(f"{salt}/{name}".encode(), digest_size=8).digest()
    start = int.from_bytes(digest) % len(corpus)
    return Prompt(*truncate(_tag(salt, name) + _slice(corpus, start, 8 * length), length))


def _tag(salt: str, name: int | str) -> str:
    """No two numbers of a run have the same: multiplying by an odd number permutes the 32 bits."""
    if isinstance(name, str):
        return f"# {hashlib.blake2b(f'{salt}:{name}'.encode(), digest_size=4).hexdigest()}\n"
    first = int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=4).digest())
    return f"# {(first + name * SPREAD) % 2**32:08x}\n"


def _slice(corpus: str, start: int, characters: int) -> str:
    """`characters` of the corpus from `start`, going round at its end."""
    text = corpus[start : start + characters]
    while len(text) < characters:
        text += corpus[: characters - len(text)]
    return text


def truncate_by_characters(text: str, tokens: int) -> tuple[str, int]:
    kept = text[: tokens * CHARACTERS_PER_TOKEN]
    return kept, -(-len(kept) // CHARACTERS_PER_TOKEN)


def truncate_by_tokenizer(path: Path) -> Truncate:
    """Cuts by a Hugging Face tokenizer.json. Cutting inside a word can move the count by one; the count is true."""
    from tokenizers import Tokenizer  # costs 40 ms that reports and tests need not pay

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception for every kind of bad file
        raise ScenarioError(f"{path}: is not a readable tokenizer.json: {error}") from error

    def truncate(text: str, tokens: int) -> tuple[str, int]:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) > tokens:
            text = text[: offsets[tokens - 1][1]]
        return text, len(tokenizer.encode(text, add_special_tokens=False).ids)

    return truncate
