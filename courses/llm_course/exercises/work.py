"""The learner's folder. Nothing in it is ever overwritten or deleted: what has to give way is moved.

learn/2.3/block_manager.py              the learner's file
learn/engine/llm_engine/…               modules of the engine that the learner has taken over
learn/.base/2.3.py                      the starter that the file began as
learn/.history/2.3/<time>.py            every version that passed
learn/.trash/<time>/2.3/block_manager.py    what a reset has put away
learn/.engine/                          the engine with the learner's modules, made from the above
"""

from __future__ import annotations

import difflib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from llm_course import paths
from llm_course.errors import CourseError, UsageError
from llm_course.exercises import overlay, subject
from llm_course.exercises.exercise import Exercise
from llm_course.exercises.subject import STARTER, Subject


@dataclass(frozen=True, slots=True)
class Merge:
    """A learner's file with the changes of the starter since."""

    text: str
    is_clean: bool
    """Nothing that both have changed."""


class Work:
    def __init__(self, learn: Path | None = None, now: Callable[[], datetime] = datetime.now) -> None:
        self._learn = paths.LEARN if learn is None else learn
        self._now = now

    def file(self, exercise: Exercise) -> Path:
        return subject.learner_file(exercise, self._learn)

    def open(self, exercise: Exercise) -> bool:
        """Make sure the learner has a file; True if the starter was put there just now."""
        file = self.file(exercise)
        if file.exists():
            return False
        text = Subject(exercise, STARTER).text()
        for path in (file, self._base(exercise)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return True

    def keep(self, exercise: Exercise) -> Path | None:
        """Keep a version that passed; None if it is the last one kept."""
        text = self.file(exercise).read_text(encoding="utf-8")
        folder = self._learn / ".history" / exercise.number
        last = max(folder.glob("*.py"), default=None)
        if last is not None and last.read_text(encoding="utf-8") == text:
            return None
        path = _free(folder / f"{self._time()}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def reset(self, exercise: Exercise) -> Path | None:
        """Begin again from the starter, and return where the work has gone; None if there was none."""
        gone = self.put_away(self.file(exercise))
        self.open(exercise)
        return gone

    def put_away(self, file: Path) -> Path | None:
        """Move a file to the trash, and return where it is now; None if there was none."""
        if not file.exists() and not file.is_symlink():
            return None
        target = _free(self._learn / ".trash" / self._time() / file.relative_to(self._learn))
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        return target

    def starter_has_changed(self, exercise: Exercise) -> bool:
        """Return whether the course has another starter by now than the one that the file began as."""
        base = self._base(exercise)
        return base.exists() and base.read_text(encoding="utf-8") != Subject(exercise, STARTER).text()

    def diff(self, exercise: Exercise) -> str:
        """Return what the learner changed, and, if the starter has changed since, that as well."""
        base, mine = self._read_base(exercise), self._read(exercise)
        parts = [_unified(base, mine, "the starter you began with", str(exercise.file_name))]
        if self.starter_has_changed(exercise):
            now = Subject(exercise, STARTER).text()
            parts.append(_unified(base, now, "the starter you began with", "the starter of today"))
        return "\n".join(part for part in parts if part)

    def merge(self, exercise: Exercise) -> Merge:
        """Return the learner's file with the changes of the starter put in, three-way; nothing is written."""
        base, mine = self._base(exercise), self.file(exercise)
        self._read_base(exercise)
        new = self._learn / ".base" / f"{exercise.number}.new"
        new.write_text(Subject(exercise, STARTER).text(), encoding="utf-8")
        names = ("-L", "yours", "-L", "starter then", "-L", "starter now")
        done = subprocess.run(
            ("git", "merge-file", "-p", *names, str(mine), str(base), str(new)),
            capture_output=True,
            text=True,
            check=False,
        )
        new.unlink()
        if done.returncode < 0 or done.stderr:
            raise CourseError(f"git merge-file: {done.stderr.strip() or done.returncode}")
        return Merge(done.stdout, done.returncode == 0)

    def take(self, exercise: Exercise) -> Path:
        """Put the starter's changes into the file, and return where the file as it was is; CourseError if both changed
        the same lines."""
        merge = self.merge(exercise)
        if not merge.is_clean:
            raise CourseError(
                f"you and the course changed the same lines of {exercise.file_name}; "
                f"./lab exercise diff {exercise.number} shows both, your file is as it was"
            )
        gone = self.put_away(self.file(exercise))
        assert gone is not None
        self.file(exercise).write_text(merge.text, encoding="utf-8")
        self._base(exercise).write_text(Subject(exercise, STARTER).text(), encoding="utf-8")
        return gone

    # The learner's engine

    def take_over(self, exercise: Exercise) -> list[Path]:
        """Put the exercise's file, and what belongs around it, into the learner's engine; return the files there."""
        if exercise.facts.engine_module is None:
            raise UsageError(f"exercise {exercise.number} is no part of the engine")
        self.open(exercise)
        place = self._engine_file(exercise.facts.engine_module)
        if place != self.file(exercise) and not place.is_symlink():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(self.file(exercise).resolve())
        given = exercise.folder / "engine"
        names = [str(path.relative_to(given)) for path in given.rglob("*.py")]
        return [place, *(self._copy(given / name, name) for name in names)]

    def take_over_module(self, name: str) -> Path:
        """Copy a module, such as `scheduler/scheduler.py`, into the learner's engine; UsageError if there is none."""
        source = overlay.ENGINE / name
        if not source.is_file() or ".." in Path(name).parts or not source.is_relative_to(overlay.ENGINE):
            raise UsageError(f"the engine has no module {name!r}; a name is like scheduler/scheduler.py")
        if not self._engine_file(name).exists():
            _copy(source, self._learn / ".base" / overlay.PACKAGE / name)
        return self._copy(source, name)

    def give_back(self, name: str) -> Path:
        """Move a module out of the learner's engine, which then has ours again; return where it has gone."""
        gone = self.put_away(self._engine_file(name))
        if gone is None:
            have = ", ".join(self.taken_over()) or "none"
            raise UsageError(f"{name!r} is no module of your engine; yours are: {have}")
        return gone

    def taken_over(self) -> dict[str, Path | str]:
        """Return the learner's modules of the engine: path below llm_engine -> file."""
        root = self._learn / "engine" / overlay.PACKAGE
        return {str(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}

    def outdated_modules(self) -> list[str]:
        """Return the learner's modules of which ours has changed since they were copied."""
        base = self._learn / ".base" / overlay.PACKAGE
        copied = {name: base / name for name in self.taken_over() if (base / name).exists()}
        return [name for name, then in copied.items() if _content(then) != _content(overlay.ENGINE / name)]

    def engine(self) -> Path:
        """Make the engine with the learner's modules, and return the folder to put first on the module path."""
        return overlay.build(self._learn / ".engine", self.taken_over())

    def _engine_file(self, name: str) -> Path:
        return self._learn / "engine" / overlay.PACKAGE / name

    def _copy(self, source: Path, name: str) -> Path:
        target = self._engine_file(name)
        if not target.exists():
            _copy(source, target)
        return target

    def _base(self, exercise: Exercise) -> Path:
        return self._learn / ".base" / f"{exercise.number}.py"

    def _read(self, exercise: Exercise) -> str:
        return _read(self.file(exercise), exercise)

    def _read_base(self, exercise: Exercise) -> str:
        return _read(self._base(exercise), exercise)

    def _time(self) -> str:
        return self._now().isoformat(timespec="milliseconds").replace(":", "-")


def _read(path: Path, exercise: Exercise) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise CourseError(f"exercise {exercise.number} is not begun; ./lab exercise {exercise.number}") from None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _unified(old: str, new: str, old_name: str, new_name: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return "\n".join(lines)


def _free(path: Path) -> Path:
    """Return the path, or one like it that is not taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return candidate
