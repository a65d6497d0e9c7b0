"""The C++ sources, compiled to one shared library with GCC or Clang.

The compiler may use every instruction of this processor (-march=native), so the cache key includes what it assumes
about the processor. The library links to the OpenMP that torch has loaded: with two OpenMP runtimes, each would keep
threads spinning that the other waits for.

A container image has no compiler. `build_ahead` writes a library for each level of x86-64 into the cache of its build
stage, and without a compiler the best one that the processor can run is loaded.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from llm_kernels.cpu import levels
from llm_kernels.errors import BuildError
from llm_kernels.native import build_key, cache_folder, cached_library, run_compiler

log = logging.getLogger("llm_kernels")

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-std=gnu++17", "-fPIC", "-Wall", "-Wextra", "-Wno-psabi")
NATIVE = ("-march=native",)


@functools.cache
def compiler() -> str | None:
    """Return the path of $CXX, g++ or clang++, the first that is installed; None without any."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++"))), None)


@functools.cache
def why_not() -> str | None:
    """Build and load the kernels. Return why that is impossible, or None if they are ready."""
    if compiler() is None and ahead() is None:
        return "no C++ compiler was found: install g++ or clang++, or name one in CXX"
    try:
        library()
    except BuildError as error:
        log.warning("%s", error)
        return str(error).splitlines()[0]
    except OSError as error:
        reason = f"the kernels for the CPU cannot be kept in or loaded from {cache_folder()}: {error}"
        log.warning("%s", reason)
        return reason
    return None


@functools.cache
def library() -> ctypes.CDLL:
    found = ahead() if compiler() is None else None
    return ctypes.CDLL(str(found or build()))


def ahead() -> Path | None:
    """Return the best library of `build_ahead` that this processor can run; None without any."""
    return next((path for level in levels.runnable() if (path := _ahead_path(level)).exists()), None)


def build_ahead() -> list[Path]:
    """Compile a library for each level into the cache, whatever this processor is. Raises BuildError."""
    compilers = ((level, functools.partial(compile_all, level.flags)) for level in levels.LEVELS)
    return [cached_library("cpu", _ahead_path(level).stem, compile_to) for level, compile_to in compilers]


def _ahead_path(level: levels.Level) -> Path:
    """The name contains the hash of sources and flags: a library of other sources is never loaded."""
    key = build_key((*FLAGS, *level.flags), sources())
    return cache_folder() / "cpu" / f"kernels-{level.name}-{key}.so"


def build() -> Path:
    """Return the shared library, from the cache or compiled now. Raises BuildError with the compiler's own words."""
    return cached_library("cpu", f"kernels-{_key()}", functools.partial(compile_all, NATIVE))


def sources() -> list[Path]:
    return sorted(SOURCES.glob("*.[ch]pp"))


def compile_all(machine: Sequence[str], target: Path) -> None:
    """Compile the sources to a shared library; `machine` has the flags that name the processor."""
    units = [source for source in sources() if source.suffix == ".cpp"]
    objects = [target.with_name(unit.stem + ".o") for unit in units]
    with ThreadPoolExecutor() as pool:
        list(pool.map(functools.partial(_compile, machine), units, objects))
    _run("-shared", *map(str, (*objects, *_openmp())), "-o", str(target))


def _compile(machine: Sequence[str], source: Path, target: Path) -> None:
    _run(*FLAGS, *machine, *(("-fopenmp",) if _openmp() else ()), "-c", str(source), "-o", str(target))


@functools.cache
def _openmp() -> list[Path]:
    """Return torch's OpenMP library if it is GCC's; otherwise nothing, and kernels run on one thread."""
    is_gcc = "clang" not in _run("--version")
    return sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))[:1] if is_gcc else []


def _key() -> str:
    compiler_and_processor = _run("-march=native", "-dM", "-E", "-x", "c++", os.devnull)
    words = (*FLAGS, *NATIVE, *map(str, _openmp()), compiler_and_processor)
    return build_key(words, sources())


def _run(*arguments: str) -> str:
    return run_compiler((compiler() or "g++", *arguments), "the kernels for the CPU")
