"""The C++ sources to one shared library with GCC or Clang, on first use, cached by the hash of what it is made of.

The compiler may use every instruction of this processor (-march=native), so what it assumes of the processor is part of
the hash. OpenMP is the one that torch has loaded: two would each keep threads spinning that the other waits for.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from llm_kernels.cuda.build import cache_folder
from llm_kernels.errors import BuildError

log = logging.getLogger("llm_kernels")

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=gnu++17", "-fPIC", "-Wall", "-Wextra", "-Wno-psabi")


@functools.cache
def compiler() -> str | None:
    """$CXX, or g++, or clang++."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++"))), None)


@functools.cache
def why_not() -> str | None:
    """Why there are no kernels for this CPU; None: they are built and loaded."""
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
    """The shared library, from the cache or made now. BuildError with what the compiler said."""
    target = cache_folder() / "cpu" / f"kernels-{_key()}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch, ThreadPoolExecutor() as pool:
            sources = sorted(SOURCES.glob("*.cpp"))
            objects = [str(Path(scratch, source.stem + ".o")) for source in sources]
            list(pool.map(_compile, sources, objects))
            made = Path(scratch, target.name)
            _run("-shared", *objects, *map(str, _openmp()), "-o", str(made))
            made.replace(target)  # whoever builds at the same time makes the same file
    return target


def _compile(source: Path, target: str) -> None:
    _run(*FLAGS, *(("-fopenmp",) if _openmp() else ()), "-c", str(source), "-o", target)


@functools.cache
def _openmp() -> list[Path]:
    """torch's OpenMP, GCC's; none, and one thread, where torch or the compiler has another."""
    is_gcc = "clang" not in _run("--version")
    return sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))[:1] if is_gcc else []


def _key() -> str:
    digest = hashlib.sha256(" ".join((*FLAGS, *map(str, _openmp()))).encode())
    digest.update(_run("-march=native", "-dM", "-E", "-x", "c++", os.devnull).encode())  # compiler and processor
    for path in sorted(SOURCES.glob("*.[ch]pp")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(*arguments: str) -> str:
    command = [compiler() or "g++", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{command[0]} could not compile the kernels for the CPU\n{done.stdout}{done.stderr}")
    return done.stdout
