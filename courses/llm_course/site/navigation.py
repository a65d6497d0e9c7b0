"""The navigation of the site, from what is there: mkdocs.yml inherits it, so that a new page needs no line anywhere."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from llm_course.site.copies import readmes, titles
from llm_course.site.overviews import EXERCISE_INDEX, MAP, SYLLABUS
from llm_course.site.pages import PageError, front_matter, module_pages
from llm_course.site.parts import EXERCISES
from llm_course.site.repository import COPIES
from llm_course.syllabus import Module, Syllabus

FILE = "generated/.navigation.yml"
SYSTEMS = (
    "services/engine",
    "services/gateway",
    "services/router",
    "services/monitor",
    "bench",
    "quantize",
    "kernels",
    "models",
    "libs",
    "courses",
    "tests",
)
"""Projects in the order in which a reader meets them."""

Entry = dict[str, Any]


def navigation(root: Path, course: Syllabus) -> str:
    """Return YAML with `nav`, the tree of all pages with their titles."""
    tree: list[Entry] = [
        {"Home": "index.md"},
        {"Course": [*_folder(root, "course"), {"Syllabus": SYLLABUS}, {"Exercises": EXERCISE_INDEX}, {"Map": MAP}]},
        {"Modules": ["modules/index.md", *(_module(root, module) for module in course.modules)]},
        {"Systems": _systems(root)},
        {
            "Reference": [
                {"Glossary": "glossary.md"},
                {"Operations": _folder(root, "operations")},
                {"Runbooks": _runbooks(root)},
                {"Decisions": _decisions(root)},
            ]
        },
    ]
    return yaml.safe_dump({"nav": tree}, sort_keys=False, allow_unicode=True)


def _module(root: Path, module: Module) -> Entry:
    pages: list[Any] = [f"modules/{module.slug}/index.md"]
    pages += [{page.title: page.path} for page in module_pages(root, module.slug)]
    tasks = [(each.number, f"{EXERCISES}/{each.number}.md") for each in module.exercises]
    exercises = [{number: path} for number, path in tasks if (root / "docs" / path).is_file()]
    if exercises:
        pages.append({"Exercises": exercises})
    return {f"{module.number} {module.title}": pages}


def _folder(root: Path, folder: str) -> list[Entry]:
    """Return the pages of a folder of docs/ by the `order` of their front matter, then by name."""
    found = []
    for file in (root / "docs" / folder).glob("*.md"):
        path = file.relative_to(root / "docs").as_posix()
        fields, _ = front_matter(file.read_text(encoding="utf-8"), f"docs/{path}")
        if not isinstance(fields.get("title"), str):
            raise PageError(f"docs/{path}: front matter: title is {fields.get('title')!r}")
        found.append((fields.get("order", 99), path, fields["title"]))
    return [{title: path} for _, path, title in sorted(found)]


def _systems(root: Path) -> list[Any]:
    names = readmes(root)
    named = titles(root, names)
    tree: list[Any] = [{"Overview": f"{COPIES}/README.md"}]
    for folder in SYSTEMS:
        below = [name for name in names if name.startswith(f"{folder}/")]
        tree.append(
            _section(
                folder, sorted(below, key=lambda name: (name.count("/"), not name.endswith("README.md"), name)), named
            )
        )
    return [*tree, {"Contributing": f"{COPIES}/CONTRIBUTING.md"}, {"Changes": f"{COPIES}/CHANGELOG.md"}]


def _section(folder: str, names: Iterable[str], named: Any) -> Entry:
    pages: list[Any] = []
    for name in names:
        is_own = posixpath.dirname(name) == folder and name.endswith("README.md")
        pages.append(f"{COPIES}/{name}" if is_own else {named[name]: f"{COPIES}/{name}"})
    return {posixpath.basename(folder).capitalize(): pages}


def _runbooks(root: Path) -> list[str]:
    folder = root / "docs" / "runbooks"
    return ["runbooks/README.md", *(f"runbooks/{name}.md" for name in _stems(folder) if name != "README")]


def _decisions(root: Path) -> list[Any]:
    return ["adr/README.md", *(f"adr/{name}.md" for name in _stems(root / "docs" / "adr") if name != "README")]


def _stems(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.md"))
