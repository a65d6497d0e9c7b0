"""Parts of the syllabus as Markdown, for module pages and the page of the whole syllabus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from llm_course.errors import CourseError
from llm_course.site.pages import module_pages
from llm_course.site.repository import relative
from llm_course.syllabus import Module, Range, load

EXERCISES = "generated/exercises"
FAULT_LAB = "4.5"
"""The exercise whose parts are the faults: it has a command of its own."""
CONTENTS = {7: "7 capstone projects", 9: "70 interview questions"}


def part(root: Path, number: int, name: str, *, page: str) -> str:
    """Return a part of a module's syllabus as Markdown for `page`; CourseError if there is no such part."""
    if name not in PARTS:
        raise CourseError(f"a module has no part {name!r}; there are {', '.join(PARTS)}")
    return PARTS[name](root, load(root / "courses" / "syllabus.yaml").module(number), page)


def tiles(root: Path, *, page: str) -> str:
    """Return the nine modules as tiles, each with what is there of it today."""
    course = load(root / "courses" / "syllabus.yaml")
    items = []
    for module in course.modules:
        pages = len(module_pages(root, module.slug))
        tasks = sum((root / "docs" / EXERCISES / f"{each.number}.md").is_file() for each in module.exercises)
        there = ", ".join(
            text for count, text in ((pages, _plural(pages, "page")), (tasks, _plural(tasks, "exercise"))) if count
        )
        link = relative(page, f"modules/{module.slug}/index.md")
        contents = (
            f"{len(module.topics)} topics, {len(module.exercises)} exercises"
            if module.topics
            else CONTENTS[module.number]
        )
        state = f"*{there} today*" if there else "<del>pages to come</del>"
        items.append(f"- **[{module.number} {module.title}]({link})** {span(module.hours)} · {contents}\n    {state}")
    return '<div class="tiles" markdown>\n\n' + "\n".join(items) + "\n\n</div>"


def span(hours: Range, unit: str = "h") -> str:
    """Format a range: `10–12 h`, `2 h`."""
    low, high = hours
    return f"{low:g} {unit}" if low == high else f"{low:g}–{high:g} {unit}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def bullets(points: Iterable[str]) -> str:
    return "\n".join(f"- {point}" for point in points)


def _facts(root: Path, module: Module, page: str) -> str:
    pages = [each for each in module_pages(root, module.slug) if not each.stretch]
    reading = sum(each.hours for each in pages)
    facts = [
        ("Hours", span(module.hours)),
        ("Pages", f"{len(pages)}" if pages else "to come"),
        ("Reading", f"{reading:.1f} h" if pages else "–"),
        ("Exercises", str(len(module.exercises) or len(module.projects))),
        ("Pass mark", f"{module.pass_mark}%" if module.pass_mark else "–"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{cells}</dl>'


def _objectives(root: Path, module: Module, page: str) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(module.objectives, 1))


def _prerequisites(root: Path, module: Module, page: str) -> str:
    return bullets(module.prerequisites)


def _time(root: Path, module: Module, page: str) -> str:
    low, high = (sum(share.hours[side] for share in module.time) for side in (0, 1))
    rows = [f"| {share.part} | {span(share.hours)} |" for share in module.time]
    return "\n".join(["| Part | Hours |", "| --- | ---: |", *rows, f"| *Sum of the parts* | *{span((low, high))}* |"])


def _topics(root: Path, module: Module, page: str) -> str:
    pages = module_pages(root, module.slug)
    rows = []
    for topic in module.topics:
        shown = [each for each in pages if topic.number in each.topics]
        at = ", ".join(f"[{each.title}]({relative(page, each.path)})" for each in shown) or "*being written*"
        rows.append(f"| {topic.name} | {topic.title} | {at} |")
    return "\n".join(["| Topic | | Page |", "| --- | --- | --- |", *rows])


def _pages(root: Path, module: Module, page: str) -> str:
    rows = [
        f"| [{each.title}]({relative(page, each.path)}){' *(stretch)*' if each.stretch else ''} "
        f"| {', '.join(f'T{module.number}.{topic}' for topic in each.topics)} | {each.hours:g} h |"
        for each in module_pages(root, module.slug)
    ]
    return "\n".join(["| Page | Topics | Hours |", "| --- | --- | ---: |", *rows]) if rows else "*No page yet.*"


def _exercises(root: Path, module: Module, page: str) -> str:
    rows = []
    for exercise in module.exercises:
        there = f"{EXERCISES}/{exercise.number}.md"
        has_task = (root / "docs" / there).is_file()
        title = f"[{exercise.title}]({relative(page, there)})" if has_task else exercise.title
        command = "./lab fault list" if exercise.number == FAULT_LAB else f"./lab exercise run {exercise.number}"
        rows.append(f"| {exercise.number} | {title} | {f'`{command}`' if has_task else '*being written*'} |")
    return "\n".join(["| Exercise | | Command |", "| --- | --- | --- |", *rows])


def _projects(root: Path, module: Module, page: str) -> str:
    blocks = []
    for project in module.projects:
        parts = [f"### Project {project.number}: {project.title}", project.objective + "."]
        parts += ["**Requirements**", bullets(project.requirements), "**Success criteria**", bullets(project.criteria)]
        blocks.append("\n\n".join(parts))
    return "\n\n".join(blocks)


def _interview(root: Path, module: Module, page: str) -> str:
    blocks = []
    for number, category in enumerate(module.interview, 1):
        questions = "\n".join(f"{index}. {question}" for index, question in enumerate(category.points, 1))
        blocks.append(f"### Category {number}: {category.title} ({len(category.points)})\n\n{questions}")
    return "\n\n".join(blocks)


def _mocks(root: Path, module: Module, page: str) -> str:
    blocks = []
    for mock in module.mocks:
        stages = [each.part + (f" ({span(each.minutes, 'min')})" if each.minutes else "") for each in mock.stages]
        blocks.append(f"### {mock.title} ({span(mock.minutes, 'min')})\n\n{bullets(stages)}")
    return "\n\n".join([*blocks, "### Practice", bullets(module.practice)])


def _criteria(root: Path, module: Module, page: str) -> str:
    return "\n".join(f"- [ ] {criterion.text}" for criterion in module.criteria)


def _deliverables(root: Path, module: Module, page: str) -> str:
    return bullets(deliverable.text for deliverable in module.deliverables)


def _ticks(root: Path, module: Module, page: str) -> str:
    """Return the element with the lists to tick; what it holds is shown until its script takes over, and on paper."""
    blocks = []
    for title, texts in (
        ("You have finished when", [each.text for each in module.criteria]),
        ("You keep", [each.text for each in module.deliverables]),
    ):
        items = "".join(f"<li>{escape(text, quote=False)}</li>" for text in texts)
        blocks.append(f"<p><strong>{title}</strong></p><ul>{items}</ul>")
    return f'<div>\n<course-criteria module="{module.number}">{"".join(blocks)}</course-criteria>\n</div>'


PARTS: dict[str, Callable[[Path, Module, str], str]] = {
    "facts": _facts,
    "objectives": _objectives,
    "prerequisites": _prerequisites,
    "time": _time,
    "pages": _pages,
    "topics": _topics,
    "exercises": _exercises,
    "projects": _projects,
    "interview": _interview,
    "mocks": _mocks,
    "criteria": _criteria,
    "ticks": _ticks,
    "deliverables": _deliverables,
}
