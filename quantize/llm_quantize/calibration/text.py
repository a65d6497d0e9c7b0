"""Where calibration text comes from: a file, a folder, or the Python source of an installed package.

The default is the source of transformers. The models that ship were trained on Python's standard library, and a model
that is calibrated on what it has learnt by heart looks better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from llm_quantize.errors import CalibrationError

PACKAGE = "transformers"
SUFFIXES = (".md", ".py", ".txt")


@dataclass(frozen=True)
class Text:
    """Documents, in a fixed order, under a name that says what they are."""

    name: str
    files: Sequence[Path]

    @classmethod
    def of(cls, path: Path | None) -> Text:
        """Return the text at `path`, or the default. CalibrationError if nothing is there."""
        if path is None:
            return cls(f"Python source of {PACKAGE} {version(PACKAGE)}", _files(_package_folder(), (".py",)))
        if path.is_dir():
            files = _files(path, SUFFIXES)
            if not files:
                raise CalibrationError(f"{path} has no files that end in {', '.join(SUFFIXES)}")
            return cls(path.name, files)
        if not path.is_file():
            raise CalibrationError(f"{path} is neither a file nor a folder; give calibration text, or leave it out")
        return cls(path.name, [path])

    def read(self, index: int) -> str:
        """Return a document. CalibrationError if it is no text."""
        try:
            return self.files[index].read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CalibrationError(f"{self.files[index]} cannot be read as UTF-8 text: {error}") from None


def _package_folder() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.stat().st_size)
