"""Other projects' servers and clients as peers: each in an environment of its own, from a lock with hashes."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from llm_measure.processes import ROOT

LOCKS = ROOT / "3rdparty"
UV = ROOT / ".lab" / "uv" / "bin" / "uv"


class Peer:
    """The environment .venv-NAME, made from 3rdparty/NAME.txt."""

    def __init__(self, name: str) -> None:
        self._lock = LOCKS / f"{name}.txt"
        self._venv = ROOT / f".venv-{name}"

    def install(self) -> None:
        """Install what the lock names, every hash checked, unless that is there."""
        stamp = self._venv / "llm-lab-stamp"
        wanted = hashlib.sha256(self._lock.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        if not self._venv.exists():
            _uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(self._venv))
        target = ("--python", str(self._venv / "bin" / "python"))
        wheels = ("--find-links", str(LOCKS / "wheels"))
        _uv("pip", "sync", "--quiet", *target, "--require-hashes", *wheels, str(self._lock))
        stamp.write_text(wanted)

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self._venv / "bin" / name)

    def version(self, package: str) -> str:
        """Return the version that the lock has of a package."""
        (line,) = (line for line in self._lock.read_text().splitlines() if line.startswith(f"{package}=="))
        return line.removeprefix(f"{package}==").rstrip(" \\")


def _uv(*arguments: str) -> None:
    if not UV.exists():
        raise SystemExit("uv is not there yet: run ./lab --help once, it installs it")
    subprocess.run([str(UV), *arguments], cwd=ROOT, check=True)
