"""The outline as the browser reads it: `docs/assets/generated/outline.js`, one call of `course.registerOutline`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_course import syllabus
from llm_course.progress.summary import tasks
from llm_course.prose import html
from llm_course.syllabus import Module


def scripts() -> dict[str, str]:
    """Return one file with what `<course-progress>` and `<course-criteria>` show: its name -> its text."""
    outline = syllabus.load()
    data = {"hours": outline.hours, "modules": [_module(module) for module in outline.modules]}
    return {"outline.js": html.script("registerOutline", data)}


def write_outline(target: Path) -> list[Path]:
    """Write the script into the folder `target`, and return its path."""
    return html.write(target, scripts())


def _module(module: Module) -> dict[str, Any]:
    return {
        "module": module.number,
        "slug": module.slug,
        "title": module.title,
        "hours": module.hours,
        "pass": module.pass_mark,
        "exercises": [{"key": number, "text": html.inline(title)} for number, title in tasks(module)],
        "deliverables": [{"key": each.key, "text": html.inline(each.text)} for each in module.deliverables],
        "criteria": [{"key": each.key, "text": html.inline(each.text)} for each in module.criteria],
    }
