"""Generated pages about the whole: the syllabus, the map of topics and files, the index of exercises."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llm_course.site.pages import Page, module_pages
from llm_course.site.parts import bullets, part, span
from llm_course.site.repository import relative, shown_at
from llm_course.syllabus import Module, Section, Syllabus

SYLLABUS = "generated/syllabus.md"
MAP = "generated/map.md"
EXERCISE_INDEX = "generated/exercises.md"
"""Not `index.md`, which Material would make the page of the whole section."""
HEADINGS = {
    "objectives": "Objectives",
    "prerequisites": "Prerequisites",
    "time": "Time",
    "topics": "Topics",
    "exercises": "Exercises",
    "projects": "Projects",
    "interview": "Interview questions",
    "mocks": "Mock interviews",
    "criteria": "Success criteria",
    "deliverables": "Deliverables",
}


def syllabus_page(root: Path, course: Syllabus) -> str:
    """Return the page of the whole outline."""
    blocks = [
        "---\ntitle: Syllabus\n---\n\n# Syllabus",
        f"Nine modules, {span(course.hours)}. {course.audience} {course.philosophy}",
        "**Focus**",
        bullets(course.focus),
        _hours(course),
    ]
    for module in course.modules:
        blocks.append(f"## Module {module.number}: {module.title} ({span(module.hours)})")
        mark = f"Pass mark of its quiz: {module.pass_mark}%. " if module.pass_mark else ""
        blocks.append(f"{mark}[The module's page]({relative(SYLLABUS, f'modules/{module.slug}/index.md')}).")
        for name, heading in HEADINGS.items():
            if getattr(module, name):
                blocks += [
                    f"### {heading} {{ #m{module.number}-{name} }}",
                    _shifted(part(root, module.number, name, page=SYLLABUS)),
                ]
    blocks += ["## Assessment", *_sections(course.assessment)]
    blocks.append(f"The final assessment is passed at {course.final_pass_mark}%.")
    blocks += ["## Measures of success", *_sections(course.success), "## Resources", *_sections(course.resources)]
    blocks += ["## Pace", bullets(course.pace), "## Next steps", bullets(course.next_steps)]
    return "\n\n".join(blocks) + "\n"


def map_page(root: Path, course: Syllabus, projects: Iterable[str]) -> str:
    """Return the page that leads from topics to files, and from files to topics."""
    pages = [page for module in course.modules for page in module_pages(root, module.slug)]
    blocks = [
        "---\ntitle: Map\n---\n\n# Map: topics, pages, services, files",
        "Which page is a topic on, and which files does it read? Both directions come from the pages themselves: their "
        "front matter names the topics, and the code that they include or link to names the files.",
        "## From topics to files",
    ]
    for module in course.modules:
        if any(page.module == module.number for page in pages):
            blocks += [
                f"### Module {module.number}: {module.title} {{ #module-{module.number} }}",
                _forward(root, module, pages),
            ]
    blocks += ["## From files to topics"]
    for project in projects:
        rows = _backward(root, project, pages)
        if rows:
            blocks += [f"### {project}", "\n".join(["| File | Shown on | Topics |", "| --- | --- | --- |", *rows])]
    return "\n\n".join(blocks) + "\n"


def exercise_index(root: Path, course: Syllabus) -> str:
    """Return the page of all exercises and projects."""
    blocks = [
        "---\ntitle: Exercises\n---\n\n# Exercises",
        "Every exercise of the outline, under its own number. `./lab exercise` starts the watch loop at the first one "
        "that you have not passed.",
    ]
    for module in course.modules:
        if module.exercises:
            blocks += [
                f"## Module {module.number}: {module.title}",
                part(root, module.number, "exercises", page=EXERCISE_INDEX),
            ]
        for project in module.projects[:1]:
            rows = [f"| {each.number} | {each.title} | {each.objective} |" for each in module.projects]
            blocks += [f"## Module {module.number}: {module.title} {{ #projects-{project.number[0]} }}"]
            blocks += ["\n".join(["| Project | | |", "| --- | --- | --- |", *rows])]
    return "\n\n".join(blocks) + "\n"


def _hours(course: Syllabus) -> str:
    rows = [
        f"| {module.number} | [{module.title}](#module-{module.number}-{_anchor(module)}) | {span(module.hours)} "
        f"| {len(module.topics) or '–'} | {len(module.exercises) or len(module.projects) or '–'} "
        f"| {f'{module.pass_mark}%' if module.pass_mark else '–'} |"
        for module in course.modules
    ]
    head = ["| | Module | Hours | Topics | Exercises | Pass mark |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    low, high = (sum(module.hours[side] for module in course.modules) for side in (0, 1))
    note = (
        f"The modules' ranges sum to {span((low, high))}, and the parts inside a module to more than its range. The "
        f"core path is planned to stay within {span(course.hours)}."
    )
    return "\n".join([*head, *rows]) + "\n\n" + note


def _anchor(module: Module) -> str:
    """Return the end of a module heading's id, as the table of contents makes it."""
    heading = f"{module.title} {span(module.hours)}".lower().replace("–", "")
    return "-".join("".join(letter if letter.isalnum() else " " for letter in heading).split())


def _forward(root: Path, module: Module, pages: Iterable[Page]) -> str:
    rows = []
    for page in (each for each in pages if each.module == module.number):
        topics = "<br>".join(f"T{module.number}.{number} {module.topics[number - 1].title}" for number in page.topics)
        files = "<br>".join(_file(root, path) for path in page.files) or "–"
        rows.append(f"| {topics} | [{page.title}]({relative(MAP, page.path)}) | {files} |")
    return "\n".join(["| Topics | Page | Files |", "| --- | --- | --- |", *rows])


def _backward(root: Path, project: str, pages: Iterable[Page]) -> list[str]:
    shown: dict[str, list[Page]] = {}
    for page in pages:
        for path in page.files:
            if path.startswith(f"{project}/"):
                shown.setdefault(path, []).append(page)
    return [
        f"| {_file(root, path)} | {'<br>'.join(f'[{page.title}]({relative(MAP, page.path)})' for page in on)} "
        f"| {', '.join(f'T{page.module}.{number}' for page in on for number in page.topics)} |"
        for path, on in sorted(shown.items())
    ]


def _file(root: Path, path: str) -> str:
    return f"[`{path}`]({relative(MAP, shown_at(root, path))})"


def _sections(sections: Iterable[Section]) -> list[str]:
    return [text for section in sections for text in (f"**{section.title}**", bullets(section.points))]


def _shifted(text: str) -> str:
    """Put headings of a part one level deeper, below the part's own."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in text.split("\n"))
