"""Prompts cut from a text and tokenised before the clock starts. They are unique unless the scenario shares a prefix.

Every prompt begins with a tag that no other prompt of any run has, so no two share even their first cache block, and
the target's prefix cache cannot save work that the scenario wants done. The tag comes from the run's salt: two runs
with one seed send the same lengths at the same times, but neither hits blocks that the other left in the cache.

Shared text stands before the tag: a class's common prefix, or the blocks of a recorded prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_bench.errors import ScenarioError

CHARACTERS_PER_TOKEN = 3
"""Estimate without a tokenizer: about right for a small byte-level BPE on source code."""

SPREAD = 0x9E3779B1
"""2^32 over the golden ratio, made odd: successive multiples lie far apart."""

BUILT_IN = Path("models") / "eval" / "heldout.txt"

Truncate = Callable[[str, int], tuple[str, int]]
"""(text, tokens) -> (text shortened to about that many tokens, its number of tokens)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: int


def find_corpus(given: Path | None = None) -> Path:
    """Return `given`, or the repository's held-out text, looked for above this package and the working directory.

    Without either, return this package's folder, whose source code serves as text.
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
    """Draw one unique prompt per length (in tokens), each from its own random line of the corpus."""
    starts = [0, *(index + 1 for index, char in enumerate(corpus) if char == "\n" and index + 1 < len(corpus))]
    chosen = rng.choice(len(starts), size=len(lengths))
    prompts = []
    for index, (length, line) in enumerate(zip(lengths, chosen, strict=True)):
        text, tokens = truncate(_tag(salt, index) + _slice(corpus, starts[line], 8 * length), length)
        prompts.append(Prompt(text, tokens))
    return prompts


def tag_prompts(texts: Sequence[str], lengths: Sequence[int], salt: str, truncate: Truncate) -> list[Prompt]:
    """Make each text unique and truncate it to at most its length."""
    return [
        Prompt(*truncate(_tag(salt, index) + text, length))
        for index, (text, length) in enumerate(zip(texts, lengths, strict=True))
    ]


def named_text(corpus: str, name: str, length: int, salt: str, *, truncate: Truncate) -> Prompt:
    """Return a text that several prompts share: within a run, the same name gives the same text."""
    digest = hashlib.blake2b(f"{salt}/{name}".encode(), digest_size=8).digest()
    start = int.from_bytes(digest) % len(corpus)
    return Prompt(*truncate(_tag(salt, name) + _slice(corpus, start, 8 * length), length))


def _tag(salt: str, name: int | str) -> str:
    """Return the tag. It is unique within a run: multiplying by an odd number permutes the 32-bit numbers."""
    if isinstance(name, str):
        return f"# {hashlib.blake2b(f'{salt}:{name}'.encode(), digest_size=4).hexdigest()}\n"
    first = int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=4).digest())
    return f"# {(first + name * SPREAD) % 2**32:08x}\n"


def _slice(corpus: str, start: int, characters: int) -> str:
    """Return `characters` of the corpus from `start`, wrapping around at its end."""
    text = corpus[start : start + characters]
    while len(text) < characters:
        text += corpus[: characters - len(text)]
    return text


def truncate_by_characters(text: str, tokens: int) -> tuple[str, int]:
    kept = text[: tokens * CHARACTERS_PER_TOKEN]
    return kept, -(-len(kept) // CHARACTERS_PER_TOKEN)


def truncate_by_tokenizer(path: Path) -> Truncate:
    """Return a function that truncates by a Hugging Face tokenizer.json.

    A cut inside a word can change the length by one token; the returned count is exact.
    """
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
