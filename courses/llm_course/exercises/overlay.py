"""An engine of which some modules come from elsewhere: the learner's, an exercise's, or ones with an injected fault.

An overlay is a folder with a whole `llm_engine`: links to our files, and the replaced modules in their places. It comes
first on the module path, so it needs no import hook and holds in every process: `multiprocessing` hands its path to
the processes that it spawns (other ranks, the reader of large bodies), and PYTHONPATH hands it to all others.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from llm_course.paths import ROOT

PACKAGE = "llm_engine"
ENGINE = ROOT / "services" / "engine" / PACKAGE


def build(folder: Path, modules: Mapping[str, Path | str]) -> Path:
    """Make `folder/llm_engine`, or bring it up to date, and return `folder`.

    `modules` are the replaced ones, by their path below llm_engine: a file, which is linked to, or a text.
    """
    wanted: dict[Path, Path | str] = {path.relative_to(ENGINE): path for path in _files(ENGINE)}
    wanted.update({Path(name): content for name, content in modules.items()})
    root = folder / PACKAGE
    for stale in (path for path in _files(root) if path.relative_to(root) not in wanted):
        stale.unlink()
    for name, content in wanted.items():
        _put(root / name, content)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that make a process use the overlay."""
    have = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([have] if have else [])])}


def module_name(name: str) -> str:
    """Return `llm_engine.scheduler.scheduler` for `scheduler/scheduler.py`."""
    return ".".join((PACKAGE, *Path(name).with_suffix("").parts))


class Engine:
    """An `llm_engine` that this process can import instead of another, as often as it likes.

    Each has modules of its own, which are imported once; torch and whatever else they import is shared.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Import this engine while inside, in this process and in those it starts."""
        others, path = _take_modules(), os.environ.get("PYTHONPATH")
        sys.modules.update(self._modules)
        sys.path.insert(0, self._folder)
        os.environ.update(environment(Path(self._folder)))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(self._folder)
            _restore("PYTHONPATH", path)
            self._modules = _take_modules()
            sys.modules.update(others)


PLAIN = Engine(ENGINE.parent)
"""Ours, as it is. A test compares the learner's with it: `with overlay.PLAIN.active(): …`."""


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        del os.environ[variable]
    else:
        os.environ[variable] = value


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]
    return {name: sys.modules.pop(name) for name in names}


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir() and "__pycache__" not in path.parts]


def _put(path: Path, content: Path | str) -> None:
    """Replace the file at once: another process may be importing it."""
    if isinstance(content, Path) and path.is_symlink() and path.readlink() == content:
        return
    if isinstance(content, str) and not path.is_symlink() and path.exists() and path.read_text("utf-8") == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    if isinstance(content, Path):
        new.symlink_to(content)
    else:
        new.write_text(content, encoding="utf-8")
    os.replace(new, path)
