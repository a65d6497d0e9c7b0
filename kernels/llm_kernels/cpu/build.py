"""The C++ sources, compiled to one shared library with GCC or Clang.

The compiler may use every instruction of this processor (-march=native), so the cache key includes what it assumes
about the processor. The library links to the OpenMP that torch has loaded: with two OpenMP runtimes, each would keep
threads spinning that the other waits for.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from llm_kernels.errors import BuildError
from llm_kernels.native import build_key, cache_folder, cached_library, run_compiler

log = logging.getLogger("llm_kernels")

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=gnu++17", "-fPIC", "-Wall", "-Wextra", "-Wno-psabi")


@functools.cache
def compiler() -> str | None:
    """Return the path of $CXX, g++ or clang++, the first that is installed; None without any."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++"))), None)


@functools.cache
def why_not() -> str | None:
    """Build and load the kernels. Return why that is impossible, or None if they are ready."""
    if compiler() is None:
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
    return ctypes.CDLL(str(build()))


def build() -> Path:
    """Return the shared library, from the cache or compiled now. Raises BuildError with the compiler's own words."""
    return cached_library("cpu", f"kernels-{_key()}", _compile_all)


def _compile_all(target: Path) -> None:
    sources = sorted(SOURCES.glob("*.cpp"))
    objects = [str(target.with_name(source.stem + ".o")) for source in sources]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_compile, sources, objects))
    _run("-shared", *objects, *map(str, _openmp()), "-o", str(target))


def _compile(source: Path, target: str) -> None:
    _run(*FLAGS, *(("-fopenmp",) if _openmp() else ()), "-c", str(source), "-o", target)


@functools.cache
def _openmp() -> list[Path]:
    """Return torch's OpenMP library if it is GCC's; otherwise nothing, and kernels run on one thread."""
    is_gcc = "clang" not in _run("--version")
    return sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))[:1] if is_gcc else []


def _key() -> str:
    compiler_and_processor = _run("-march=native", "-dM", "-E", "-x", "c++", os.devnull)
    words = (*FLAGS, *map(str, _openmp()), compiler_and_processor)
    return build_key(words, sorted(SOURCES.glob("*.[ch]pp")))


def _run(*arguments: str) -> str:
    return run_compiler((compiler() or "g++", *arguments), "the kernels for the CPU")
