"""Write a file so that its name never stands for half of it."""

from __future__ import annotations

import os
from pathlib import Path

from llm_quantize.errors import OutputError


def write_file(path: Path, content: str) -> None:
    """Write a file and its folders. OutputError if the disk refuses."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(content, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from None
