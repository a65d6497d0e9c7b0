"""`./lab test`: the tests nearest to what changed since `main`, in seconds; `./pants test ::` runs all of them.

Nearest are the changed test files, the test of the same name as a changed module, and test files that import a changed
module themselves or through its package's `__init__`. Tests that reach it by a longer way are left to CI.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from llm_lab import paths
from llm_lab.errors import LabError


def run(base: str) -> int:
    """Run the tests with pytest and return its exit status; LabError if `base` is no commit."""
    tests = nearest_tests(changed_files(base), python_files())
    if not tests:
        print(f"Nothing changed since {base} that a test is near to.")
        return 0
    # A process for each core; each begins with whole files, and takes over tests of others when it has none left.
    cores = ("-n", "logical", "--dist", "worksteal") if len(tests) > 1 else ()
    command = [str(paths.PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider", *cores, *map(str, tests)]
    return subprocess.run(command, cwd=paths.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode


def changed_files(base: str) -> set[PurePosixPath]:
    """Return what differs from the commit where this branch left `base`, committed or not."""
    fork = _git("merge-base", base, "HEAD")
    lines = [*_git("diff", "--name-only", *fork), *_git("ls-files", "--others", "--exclude-standard")]
    return {PurePosixPath(line) for line in lines}


def python_files() -> dict[PurePosixPath, str]:
    """Return path -> source of every Python file that git knows or would take."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard", "*.py")
    found = {PurePosixPath(name): paths.ROOT / name for name in names}
    return {name: path.read_text(encoding="utf-8") for name, path in found.items() if path.exists()}


def nearest_tests(changed: Iterable[PurePosixPath], files: dict[PurePosixPath, str]) -> list[PurePosixPath]:
    """Return the test files of `files` (path -> source) that are nearest to the changed ones."""
    known = {path for path in changed if path in files}
    modules = {module_name(path) for path in known}
    initials = {path: text for path, text in files.items() if path.name == "__init__.py"}
    modules |= {module_name(path) for path, text in initials.items() if modules & set(imported(text))}
    tests = {path: text for path, text in files.items() if path.name.startswith("test_") and "tests" in path.parts}
    return sorted(path for path, text in tests.items() if _is_near(path, known) or modules & set(imported(text)))


def _is_near(test: PurePosixPath, changed: set[PurePosixPath]) -> bool:
    """Return whether the test itself, its folder's conftest, or its namesake in its project has changed."""
    project = test.parts[: test.parts.index("tests")]
    return any(
        path == test
        or (path.name == "conftest.py" and path.parent == test.parent)
        or (f"test_{path.stem}.py" == test.name and path.parts[: len(project)] == project)
        for path in changed
    )


def imported(text: str) -> Iterator[str]:
    """Yield the dotted names that a source imports: modules, and what it takes from them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: PurePosixPath) -> str:
    """Return `llm_gateway.scheduling.queue` for `services/gateway/llm_gateway/scheduling/queue.py`."""
    parts = path.with_suffix("").parts
    start = next((index for index, part in enumerate(parts) if part.startswith("llm_")), 0)
    names = parts[start:]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(("git", *arguments), cwd=paths.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.split("\n")[:-1] if done.stdout else []
