"""The corpus: the standard library's Python source of the running interpreter, split by file.

Whole files go to one split, chosen by a hash of the path, so that no line of a test file was ever trained on and the
split stays the same when files come or go. CPython is under the PSF licence, which permits this use.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "validation", "test")
SEPARATOR = "<|endoftext|>"
MAX_FILE_BYTES = 320_000
HELDOUT_BYTES = 240_000
HELDOUT_FILE_BYTES = 24_000

# Not prose or code a person wrote: code pages, generated topics, deliberately broken files, facts of one build.
EXCLUDED = (
    "site-packages/",
    "dist-packages/",
    "encodings/",
    "pydoc_data/",
    "lib2to3/tests/data/",
    "test/test_lib2to3/data/",
    "test/encoded_modules/",
    "test/tokenizedata/",
    "test/bad_",
    "test/badsyntax_",
    "test/cjkencodings",
    "config-",
    "_sysconfigdata",
)


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus; `path` is relative to the library's root, with forward slashes."""

    path: str
    text: str

    @property
    def split(self) -> str:
        return split_of(self.path)


def standard_library() -> Path:
    """Return the folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def collect(root: Path) -> list[SourceFile]:
    """Return all usable `.py` files below `root`, sorted by path, without duplicates."""
    files: dict[str, SourceFile] = {}
    for file in _readable(root):
        files.setdefault(hashlib.sha256(file.text.encode()).hexdigest(), file)
    if not files:
        raise SystemExit(f"no usable .py file below {root}; name a folder of Python source with --source")
    return sorted(files.values(), key=lambda file: file.path)


def split_of(path: str) -> str:
    """Return a file's split: 92 % train, 4 % validation, 4 % test."""
    bucket = _digest(path) % 100
    if bucket < 92:
        return "train"
    return "validation" if bucket < 96 else "test"


def heldout_text(files: list[SourceFile], limit_bytes: int = HELDOUT_BYTES) -> str:
    """Return test files up to `limit_bytes`, library modules before unit tests, each after a separator."""
    candidates = [file for file in files if file.split == "test" and 500 < len(file.text) <= HELDOUT_FILE_BYTES]
    candidates.sort(key=lambda file: ("test/" in file.path, _digest("heldout/" + file.path)))
    parts: list[str] = []
    used_bytes = 0
    for file in candidates:
        part = SEPARATOR + file.text
        if used_bytes + len(part.encode()) <= limit_bytes:
            parts.append(part)
            used_bytes += len(part.encode())
    return "".join(parts)


def _readable(root: Path) -> Iterator[SourceFile]:
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root).as_posix()
        if path.startswith(EXCLUDED) or "__pycache__" in path or file.stat().st_size > MAX_FILE_BYTES:
            continue
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        # A file that spells the separator would break documents apart.
        if text.strip() and SEPARATOR not in text:
            yield SourceFile(path, text)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
