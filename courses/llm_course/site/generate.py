"""Write the generated part of the site: docs/generated and docs/assets/generated, which git ignores.

A producer is a function of the repository's root that returns path below docs/ -> content. Files that no producer names
any more are deleted. A file whose content is the same is left alone, so that a server that watches it does not reload.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from llm_course.site.copies import copies
from llm_course.site.expand import rebase
from llm_course.site.navigation import FILE as NAVIGATION
from llm_course.site.navigation import SYSTEMS, navigation
from llm_course.site.overviews import EXERCISE_INDEX, MAP, SYLLABUS, exercise_index, map_page, syllabus_page
from llm_course.site.pages import Page, front_matter, module_pages
from llm_course.site.parts import EXERCISES, FAULT_LAB
from llm_course.site.repository import links
from llm_course.syllabus import Syllabus, load

FOLDERS = ("generated", "assets/generated")

Files = Mapping[str, str | bytes]


FAULTS = "courses/faults"
"""The fault lab, which is exercise 4.5."""


def task_pages(root: Path) -> Files:
    """Return a page for each exercise that has a task.md, and one for the fault lab."""
    course = load(root / "courses" / "syllabus.yaml")
    pages: dict[str, str | bytes] = {}
    for module in course.modules:
        for task in sorted((root / "courses" / module.slug).glob("ex[0-9][0-9]_*/task.md")):
            number = f"{module.number}.{int(task.parent.name[2:4])}"
            pages[f"{EXERCISES}/{number}.md"] = _task_page(root, course, number, task)
    if (root / FAULTS / "task.md").is_file():
        page = _task_page(root, course, FAULT_LAB, root / FAULTS / "task.md")
        pages[f"{EXERCISES}/{FAULT_LAB}.md"] = page + "\n" + _fault_table(root)
    return pages


def _task_page(root: Path, course: Syllabus, number: str, task: Path) -> str:
    _, text = front_matter(task.read_text(encoding="utf-8"), str(task))
    folder = task.parent.relative_to(root).as_posix()
    title = json.dumps(f"{number} {course.exercise(number).title}", ensure_ascii=False)  # a colon needs quotes
    return f"---\ntitle: {title}\n---\n\n" + rebase(root, text, folder=folder, page=f"{EXERCISES}/{number}.md")


def _fault_table(root: Path) -> str:
    rows = ["| Fault | Symptom | Path |", "| ---: | --- | --- |"]
    for file in sorted((root / FAULTS).glob("*.toml")):
        facts = tomllib.loads(file.read_text(encoding="utf-8"))
        rows.append(f"| {int(file.name[:2])} | {facts['title']} | {'required' if facts['required'] else 'stretch'} |")
    return "\n".join(rows) + "\n"


def overviews(root: Path) -> Files:
    """Return the syllabus, the map, the index of exercises, and the navigation."""
    course = load(root / "courses" / "syllabus.yaml")
    return {
        SYLLABUS: syllabus_page(root, course),
        MAP: map_page(root, course, SYSTEMS),
        EXERCISE_INDEX: exercise_index(root, course),
        NAVIGATION: navigation(root, course),
    }


def repository(root: Path) -> Files:
    """Return READMEs, their pictures, and the files that pages name."""
    course = load(root / "courses" / "syllabus.yaml")
    return dict(copies(root, _all_pages(root, course), _linked(root)))


def scripts(root: Path) -> Files:
    """Return the data of quizzes, cards and the outline as scripts."""
    # Imported on demand: the environment of the browser's checks has no pydantic.
    from llm_course.cards import page as cards
    from llm_course.progress import outline
    from llm_course.quiz import page as quizzes

    found = quizzes.scripts() | cards.scripts() | outline.scripts()
    return {f"assets/generated/{name}": text for name, text in found.items()}


PRODUCERS: tuple[Callable[[Path], Files], ...] = (scripts, task_pages, overviews, repository)
"""In order: a later one sees the files of those before it."""


def generate(root: Path, producers: Iterable[Callable[[Path], Files]] = PRODUCERS) -> int:
    """Write what the producers return, delete what none returns, and return how many files changed."""
    docs = root / "docs"
    kept: set[Path] = set()
    changed = 0
    for producer in producers:
        for path, content in producer(root).items():
            changed += _write(docs / path, content)
            kept.add(docs / path)
    there = [file for folder in FOLDERS for file in (docs / folder).rglob("*") if file.is_file()]
    for stale in set(there) - kept:
        stale.unlink()
        changed += 1
    return changed


def _write(file: Path, content: str | bytes) -> bool:
    data = content.encode() if isinstance(content, str) else content
    if file.exists() and file.read_bytes() == data:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return True


def _all_pages(root: Path, course: Syllabus) -> list[Page]:
    return [page for module in course.modules for page in module_pages(root, module.slug)]


def _linked(root: Path) -> Iterator[str]:
    """Yield the files of the repository that pages written by hand, and tasks, link to or show."""
    written = [file for file in (root / "docs").rglob("*.md") if "generated" not in file.parts]
    for file in [*written, *(root / "courses").glob("*/**/task.md")]:
        folder = file.parent.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8")
        yield from (link.path for link in links(text, folder) if not link.path.startswith("docs/"))
        yield from re.findall(r'^\s*--source-- "([^":]+)::', text, re.MULTILINE)
