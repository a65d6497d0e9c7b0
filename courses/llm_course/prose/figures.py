"""Numbers from results files: a text names a figure as `{name}`, and a table of its file says where the number is.

figures:
  static_ratio: "services/engine/results/continuous_batching.json :: continuous.ratio_to_static | .2f"
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_course.errors import CourseError
from llm_course.paths import ROOT

SOURCE = re.compile(r"\s*(?P<file>\S+)\s*::\s*(?P<keys>[^|]*[^|\s])\s*(?:\|\s*(?P<format>\S+)\s*)?")
STEP = re.compile(r'(?P<name>[\w-]+)|"(?P<quoted>[^"]+)"|\.')
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def figure(source: str, root: Path = ROOT) -> int | float:
    """Return the number at `file :: path.to.value | format`; CourseError if there is none."""
    match = SOURCE.fullmatch(source)
    if match is None:
        raise CourseError(f"figure {source!r}: write it as `file.json :: path.to.value | .2f`")
    path = root / match["file"]
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CourseError(f"figure {source!r}: {match['file']} cannot be read ({error})") from None
    value = _at(value, match["keys"])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CourseError(f"figure {source!r}: {match['file']} has {value!r} at {match['keys']}; a figure is a number")
    return value


def _at(value: Any, path: str) -> Any:
    """Return what lies at the path, or None."""
    steps = [match["quoted"] or match["name"] for match in STEP.finditer(path) if match[0] != "."]
    for step in steps:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return None
    return value


def written(source: str, root: Path = ROOT) -> str:
    """Return the figure as text, in the format that its source asks for."""
    match = SOURCE.fullmatch(source)
    value = figure(source, root)
    return format(value, (match and match["format"]) or "")


def table(figures: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    return {name: written(source, root) for name, source in figures.items()}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace `{name}` where `values` has the name; other braces stay as they are."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)
