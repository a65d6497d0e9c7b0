"""Run an exercise's tests on a subject.

`grade` runs those of several exercises in this process, in one pytest session: gates do. `grade_apart` runs one in a
process of its own, which can hang, exit or crash: that is for what a learner has written.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from llm_course.errors import CourseError
from llm_course.exercises import plugin
from llm_course.exercises.exercise import Exercise, find
from llm_course.exercises.failures import Comparison, describe
from llm_course.exercises.outcome import Failure, Outcome, Report
from llm_course.exercises.subject import LEARNER, Active, Subject
from llm_course.exercises.watcher import Plan, Watcher
from llm_course.paths import COURSES, ROOT

OPTIONS = (
    *("-q", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider"),
    *("--disable-plugin-autoload", "-p", "pytest_asyncio.plugin", "--noconftest", "--continue-on-collection-errors"),
    *("-c", os.devnull, "--rootdir", str(ROOT), "-o", "asyncio_mode=auto"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)
TIMEOUT = 120.0
"""Seconds after which a learner's run is taken for one that hangs; it says then where it is."""
GRACE = 10.0
"""Seconds more until it is killed."""


def grade(plans: Sequence[Plan], *, shrink: bool = False) -> list[Report]:
    """Run the tests of each plan's subject in this process, and return their reports in the same order.

    The subjects are of different exercises. `shrink`: look for the smallest example that fails.
    """
    _set_hypothesis(shrink)
    active = [Active(plan.subject) for plan in plans]
    broken = {each.subject: _import(each) for each in active}
    sound = [each for each in active if broken[each.subject] is None]
    watcher = Watcher([plan for plan in plans if broken[plan.subject] is None])
    if sound:
        plugin.assign(sound)
        run_pytest([test for each in sound for test in each.subject.exercise.tests], plugin, watcher)
    return [
        _broken(plan.subject, failure) if (failure := broken[plan.subject]) else watcher.report(plan.subject)
        for plan in plans
    ]


def grade_apart(exercise: Exercise, subject: str = LEARNER, *, timeout: float = TIMEOUT) -> Report:
    """Run the tests on one subject in a process of its own, up to the first failure."""
    with tempfile.TemporaryDirectory(prefix="llm-course-") as folder:
        result = Path(folder) / "report.json"
        argv = [
            sys.executable,
            "-m",
            "llm_course.exercises.grading",
            exercise.number,
            subject,
            str(result),
            str(timeout),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(COURSES), os.environ.get("PYTHONPATH", "")])}
        try:
            done = subprocess.run(
                argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout + GRACE, check=False
            )
            said = done.stderr or done.stdout or "the process ended without a word"
            if said.startswith("Timeout ("):
                said = _hung(Subject(exercise, subject), said, timeout)
        except subprocess.TimeoutExpired:
            said = f"stopped after {timeout:.0f} s: something waits or loops without end"
        if result.exists():
            return Report.from_json(result.read_text(encoding="utf-8"))
    last = said.strip().splitlines()[-1]
    return _broken(Subject(exercise, subject), Failure(error="Crash", message=last, printed=said))


def main(arguments: Sequence[str]) -> None:
    """Grade one subject and write the report to a file: `grade_apart` starts this."""
    number, subject, path, timeout = arguments
    # A file of its own: while a test runs, pytest has the process's own standard error.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        faulthandler.dump_traceback_later(float(timeout), exit=True, file=terminal)
        _grade_into(number, subject, Path(path))


def _grade_into(number: str, subject: str, path: Path) -> None:
    plan = Plan(Subject(find(number), subject), is_enough=_has_failed)
    (report,) = grade([plan], shrink=True)
    path.write_text(report.to_json(), encoding="utf-8")


def _hung(subject: Subject, stacks: str, seconds: float) -> str:
    """Return a line that names where the subject's file is, from the stacks that faulthandler printed."""
    line = re.search(rf'File "{re.escape(subject.shown_as)}", line (\d+)', stacks)
    where = f" at {subject.exercise.file_name}:{line[1]}" if line else ""
    return f"stopped after {seconds:.0f} s: something waits or loops without end{where}"


def _has_failed(outcomes: Sequence[Outcome]) -> bool:
    return any(not outcome.passed for outcome in outcomes)


def run_pytest(tests: Sequence[Path], *plugins: object) -> pytest.ExitCode:
    """Run test files in this process, quietly, imported afresh; CourseError if pytest itself fails."""
    files = set(map(str, tests))
    for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) in files]:
        del sys.modules[name]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = pytest.main([*OPTIONS, *map(str, tests)], plugins=list(plugins))
    if status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise CourseError(f"pytest ended with status {status}:\n{printed.getvalue()}")
    return pytest.ExitCode(status)


def _import(active: Active) -> Failure | None:
    """Import the subject, and return what goes wrong if anything does."""
    try:
        with active.inside():
            return None
    except (CourseError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - a learner's file can raise anything, SystemExit included
        return describe(error, active.subject, Comparison())


def _broken(subject: Subject, failure: Failure) -> Report:
    return Report(number=subject.exercise.number, subject=subject.name, broken=failure)


def _set_hypothesis(shrink: bool) -> None:
    """The same examples each time, and no complaint about a slow machine."""
    settings.register_profile(
        "course",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])],
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("course")


if __name__ == "__main__":
    main(sys.argv[1:])
