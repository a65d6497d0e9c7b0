"""Environments beside .venv: each is made from a lock of its own, every hash checked, when a command first needs it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llm_lab import paths
from llm_lab.errors import LabError


class Environment:
    """A virtual environment that is made from a lock, and made again when the lock has changed."""

    def __init__(self, folder: Path, lock: Path, *, python: str = sys.executable) -> None:
        """`python` is an interpreter, or the versions that uv may choose from: ">=3.11.5"."""
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._lock = lock
        self._interpreter = python
        self._stamp = folder / "llm-lab-stamp"

    def is_made(self) -> bool:
        return self._stamp.exists() and self._stamp.read_text() == self._wanted()

    def make(self, *, helpers: Sequence[Path] = ()) -> None:
        """Install the lock, then packages of ours in `helpers`; LabError if uv fails. The stamp is written last."""
        if not self.folder.exists():
            _uv("venv", "--quiet", "--no-project", "--python", self._interpreter, str(self.folder))
        python = ("--python", str(self.python))
        _uv("pip", "sync", *python, "--require-hashes", "--find-links", str(paths.WHEELS), str(self._lock))
        if helpers:
            _uv("pip", "install", "--quiet", *python, "--no-deps", "--no-build-isolation", *map(str, helpers))
        self._stamp.write_text(self._wanted())

    def _wanted(self) -> str:
        return hashlib.sha256(self._lock.read_bytes()).hexdigest()


def _uv(*arguments: str) -> None:
    done = subprocess.run([paths.UV, *arguments], cwd=paths.ROOT, check=False)
    if done.returncode:
        raise LabError(f"uv {arguments[0]} failed; see above")
