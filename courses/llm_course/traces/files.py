"""The recordings as files of the site: scripts, since a page that was opened from a disk can load nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from llm_course.errors import CourseError
from llm_course.paths import DOCS
from llm_course.traces.pack import Event, unpack

FOLDER = DOCS / "assets" / "traces"
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write(name: str, text: str, folder: Path = FOLDER) -> Path:
    """Write `text`, lines of JSON, as the script that registers it under this name."""
    path = folder / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    literal = "".join(_ESCAPES.get(character, character) for character in text)
    path.write_text(f"window.course.registerTrace({json.dumps(name)},'{literal}');\n", encoding="utf-8")
    return path


def read(name: str, folder: Path = FOLDER) -> str:
    """Return the text that was written; CourseError if there is no such recording."""
    path = folder / f"{name}.js"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.js")))
        raise CourseError(f"there is no trace {name}; there are {known}")
    literal = path.read_text(encoding="utf-8").split(",'", 1)[1].rsplit("');", 1)[0]
    back = {escaped[1]: character for character, escaped in _ESCAPES.items() if len(escaped) == 2}
    parts = literal.split("\\")
    text = parts[0]
    rest = iter(parts[1:])
    for part in rest:
        if part == "":
            text += "\\" + next(rest, "")
        elif part[0] == "u":
            text += chr(int(part[1:5], 16)) + part[5:]
        else:
            text += back[part[0]] + part[1:]
    return text


def load(name: str, folder: Path = FOLDER) -> list[Event]:
    """Return the events of an engine's recording as the engine wrote them, after one event `recording`."""
    return unpack(read(name, folder))
