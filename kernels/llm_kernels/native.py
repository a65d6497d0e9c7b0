"""Shared libraries from C++ and CUDA sources: compiled on first use, cached under the hash of all that goes into them.

`cpu.build` compiles with GCC or Clang, `cuda.build` with nvcc; this module is the part that they share.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from llm_kernels.errors import BuildError


def cache_folder() -> Path:
    """Return `$LLM_KERNELS_CACHE`, or `llm-kernels` in the user's cache folder."""
    root = os.environ.get("LLM_KERNELS_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "llm-kernels"
    )
    return Path(root)


def build_key(words: Iterable[str], files: Iterable[Path]) -> str:
    """Return 16 hex digits that change with the `words` (flags, compiler) and with the files' names or content."""
    digest = hashlib.sha256(" ".join(words).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def cached_library(kind: str, name: str, compile_to: Callable[[Path], object]) -> Path:
    """Return the library `kind`/`name`.so from the cache; if it is missing, `compile_to` writes it first."""
    target = cache_folder() / kind / f"{name}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch, target.name)
            compile_to(made)
            made.replace(target)  # two processes that build at the same time make the same file
    return target


def run_compiler(command: Sequence[str], what: str) -> str:
    """Run the compiler and return its output. Raises BuildError with the compiler's own words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{command[0]} could not compile {what}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
