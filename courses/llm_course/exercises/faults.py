"""The fault lab: an engine with one injected defect, to be found by its symptoms and mended.

    courses/faults/01-leak-on-abort.patch     the defect, a diff against the engine of today
    courses/faults/01-leak-on-abort.toml      what an operator sees of it, and how to make it show
    courses/faults/tests/test_01_leak_on_abort.py    the hidden test: fails with the defect, passes without

The learner gets a copy of the whole engine, defect included, in learn/faults/1/, so that the place is not given away.
The answer is a place, `scheduler/scheduler.py:110`, and a copy that passes the hidden test; the log keeps the time.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from llm_course import paths
from llm_course.errors import CourseError, UsageError
from llm_course.exercises import overlay
from llm_course.exercises.grading import run_pytest
from llm_course.exercises.patches import Place, apply
from llm_course.paths import COURSES, ROOT
from llm_course.progress.log import Event, Log
from llm_course.site.parts import FAULT_LAB

FOLDER = COURSES / "faults"
EXERCISE = FAULT_LAB
"""Key of the faults' events in the log."""


HOURS_PER_FAULT = 0.5
"""Time on the core path for finding and mending a required one."""


class Facts(BaseModel):
    """The fields of a fault's .toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    """Names the symptom, not the defect."""
    symptoms: str
    flags: str
    """The engine's flags with which it shows."""
    reproduce: str
    """The load under which it shows, which llm_course/fault_loads sends."""
    diagnosis: str
    """Shown when it is mended: what was wrong and how the symptoms follow."""
    required: bool
    """One of the six that exercise 4.5 asks for."""


@dataclass(frozen=True, slots=True)
class Fault:
    number: int
    patch: Path
    facts: Facts

    @property
    def test(self) -> Path:
        return self.patch.parent / "tests" / f"test_{self.patch.stem.replace('-', '_')}.py"

    def modules(self) -> tuple[dict[str, Path | str], list[Place]]:
        """Return the engine's modules with the defect, and its places; CourseError if the patch does not apply."""
        package = overlay.ENGINE.relative_to(ROOT)
        try:
            texts, places = apply(self.patch.read_text(encoding="utf-8"), _read)
            modules: dict[str, Path | str] = {
                str(Path(name).relative_to(package)): text for name, text in texts.items()
            }
        except (CourseError, ValueError, OSError) as error:
            raise CourseError(f"{self.patch.name} no longer applies: {error}") from None
        return modules, [Place(str(Path(p.file).relative_to(package)), p.first, p.last) for p in places]


def read_all(folder: Path = FOLDER) -> list[Fault]:
    """Return the faults in order; CourseError if a .toml is not right."""
    return [
        Fault(int(path.name[:2]), path, _facts(path.with_suffix(".toml"))) for path in sorted(folder.glob("*.patch"))
    ]


def find(number: int) -> Fault:
    faults = read_all()
    for fault in faults:
        if fault.number == number:
            return fault
    raise UsageError(f"there is no fault {number}; there are {', '.join(str(fault.number) for fault in faults)}")


def passes(fault: Fault, folder: Path) -> bool:
    """Run the hidden test with the engine in `folder`."""
    with overlay.Engine(folder).active():
        return run_pytest([fault.test]) is pytest.ExitCode.OK


def complaints(fault: Fault, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a fault; `folder` is an empty one to work in."""
    modules, _ = fault.modules()
    if not passes(fault, overlay.ENGINE.parent):
        yield f"{fault.patch.stem}: the hidden test fails without the fault"
    if passes(fault, overlay.build(folder, modules)):
        yield f"{fault.patch.stem}: the hidden test passes with the fault"


class FaultLab:
    """A learner at the faults."""

    def __init__(self, log: Log, learn: Path | None = None) -> None:
        self._log = log
        self._learn = paths.LEARN if learn is None else learn

    def folder(self, fault: Fault) -> Path:
        """Return the folder of the learner's copy of the engine."""
        return self._learn / "faults" / str(fault.number)

    def start(self, fault: Fault) -> Path:
        """Copy the engine with its defect, unless that is done, and start the clock."""
        folder = self.folder(fault)
        if not folder.exists():
            modules, _ = fault.modules()
            package = folder / overlay.PACKAGE
            shutil.copytree(overlay.ENGINE, package, ignore=shutil.ignore_patterns("__pycache__"))
            for name, text in modules.items():
                (package / name).write_text(str(text), encoding="utf-8")
            self._add(fault, "fault started")
        return folder

    def started(self, fault: Fault) -> Path:
        """Return the folder of the learner's copy; CourseError if there is none."""
        folder = self.folder(fault)
        if not folder.exists():
            raise CourseError(f"fault {fault.number} is not started; ./lab fault start {fault.number}")
        return folder

    def is_place(self, fault: Fault, where: str) -> bool:
        """Return whether `where`, as `scheduler/scheduler.py:110`, is in the place of the defect."""
        name, _, line = where.rpartition(":")
        if not name or not line.isdecimal():
            raise UsageError(f"{where!r} is no place; a place is like scheduler/scheduler.py:110")
        _, places = fault.modules()
        name = name.partition(f"{overlay.PACKAGE}/")[2] or name
        return any(place.file == name and place.first <= int(line) <= place.last for place in places)

    def check(self, fault: Fault, where: str) -> float:
        """Return the seconds from start to diagnosis; CourseError that says what is missing."""
        folder = self.started(fault)
        if not self.is_place(fault, where):
            self._add(fault, "fault missed", where=where)
            raise CourseError(f"{where} is not where it comes from")
        if not passes(fault, folder):
            self._add(fault, "fault located", where=where)
            raise CourseError(f"the place is right, and the symptom is still there: mend {folder}")
        seconds = self.seconds(fault)
        self._add(fault, "fault mended", seconds=round(seconds))
        return seconds

    def state(self, fault: Fault) -> str:
        """Return new, started, located or mended."""
        events = [event.facts["event"] for event in self._events(fault)]
        for name in ("mended", "located", "started"):
            if f"fault {name}" in events:
                return name
        return "new"

    def seconds(self, fault: Fault) -> float:
        """Return how long ago the fault was started."""
        started = next(event.at for event in self._events(fault) if event.facts["event"] == "fault started")
        return (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()

    def _events(self, fault: Fault) -> list[Event]:
        return [event for event in self._log.of("exercise", EXERCISE) if event.facts.get("fault") == fault.number]

    def _add(self, fault: Fault, event: str, **facts: object) -> None:
        self._log.add("exercise", EXERCISE, event=event, fault=fault.number, **facts)


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _facts(path: Path) -> Facts:
    try:
        return Facts.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise CourseError(f"{path}: {' '.join(str(error).split())}") from None
