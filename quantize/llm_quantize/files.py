"""Write a file so that its name never stands for half of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from llm_quantize.errors import OutputError


def write_file(path: Path, content: str) -> None:
    """Write a file and its folders. OutputError, and no trace of it, if the disk refuses."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(content, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error}") from None
