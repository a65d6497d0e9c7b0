"""A result written to disk, or as much of it as fits.

A run can cost an hour of a cluster. A reserve file in the result's folder takes disk space for the essential results
before the load is sent, and is removed when the result is written. A disk that has filled up by then still has that
much room. Parts that do not fit are left out, the largest first, and the result says what is missing and why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from llm_bench.errors import ResultError
from llm_bench.measure.record import RequestRecord
from llm_bench.results.result import CSV_FILE, RESULT_FILE, Partial, Result, encode_csv, encode_result

RESERVE_FILE = RESULT_FILE + ".reserve"
BYTES_PER_RUN = 64 * 1024
"""Reserved for figures, scenario, series of the server."""
BYTES_PER_REQUEST = 700
"""Reserved for a request without the times of its chunks."""

CHUNKS = "times of chunks after the first"
REQUESTS = "single requests"
STEPS: tuple[tuple[str, ...], ...] = ((), (CHUNKS,), (CHUNKS, CSV_FILE), (CHUNKS, CSV_FILE, REQUESTS))
"""Fields to leave out: none, then more and more."""


def prepare_folder(folder: Path) -> None:
    """Make the folder and check that a result can be written there. Raises ResultError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultError(f"{folder}: cannot be made: {error}") from error
    if not os.access(folder, os.W_OK):
        raise ResultError(f"{folder}: cannot be written to; name another folder with --out")
    if (folder / RESULT_FILE).exists():
        raise ResultError(f"{folder}: already holds a result; name another folder with --out, or remove it")


@contextmanager
def room_for(folder: Path, requests: int) -> Iterator[None]:
    """Reserve disk space for the essential results of that many requests; release it just before they are written."""
    reserve, size = folder / RESERVE_FILE, BYTES_PER_RUN + requests * BYTES_PER_REQUEST
    try:
        try:
            _reserve(reserve, size)
        except OSError as error:
            raise ResultError(
                f"{folder}: has no room for the result, which takes {size / 2**20:.1f} MiB at least "
                f"({error.strerror}): make room, or name another folder with --out"
            ) from error
        yield
    finally:
        reserve.unlink(missing_ok=True)


def write_result(result: Result, folder: Path) -> Result:
    """Write `result`, or as much of it as the disk takes, and return that. Raises ResultError if nothing fits."""
    reason = ""
    for missing in STEPS:
        kept = _leave_out(result, missing, reason) if missing else result
        try:
            _write(kept, folder, with_csv=CSV_FILE not in missing)
            return kept
        except OSError as error:
            reason = reason or error.strerror or str(error)
    raise ResultError(f"{folder}: the result cannot be written: {reason}; nothing of it was kept")


def _leave_out(result: Result, missing: Sequence[str], reason: str) -> Result:
    records = [] if REQUESTS in missing else [_without_chunks(record) for record in result.requests]
    return replace(result, requests=records, partial=Partial(reason, list(missing)))


def _without_chunks(record: RequestRecord) -> RequestRecord:
    """Drop all chunks but the first, whose arrival is the time to first token."""
    return replace(record, chunk_times=record.chunk_times[:1], chunk_tokens=record.chunk_tokens[:1])


def _write(result: Result, folder: Path, *, with_csv: bool) -> None:
    """Write both files or neither: they get their names when both are on disk. Raises OSError."""
    files = {CSV_FILE: encode_csv(result.requests)} if with_csv else {}
    files[RESULT_FILE] = encode_result(result, indent=result.partial is None)
    unfinished = {name: folder / f"{name}.part" for name in files}
    try:
        for name, data in files.items():
            _write_through(unfinished[name], data)
        for name, path in unfinished.items():
            path.replace(folder / name)
    except OSError:
        for path in unfinished.values():
            path.unlink(missing_ok=True)
        raise


def _write_through(path: Path, data: bytes) -> None:
    """Write and sync to the disk, which can find only then that it is full."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _reserve(path: Path, size: int) -> None:
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.write(bytes(size))
