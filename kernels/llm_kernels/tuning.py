"""The autotune cache: which options of a kernel were fastest, by device and problem, on disk.

`llm-kernels tune OP` measures a kernel's candidates and remembers the winners. Launchers look here first, and otherwise
use their default. No call tunes anything, so a first call never takes a thousand times longer.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import torch

from llm_kernels.native import cache_folder

Options = dict[str, int]


def key_of(dtype: torch.dtype, *sizes: int) -> str:
    """Return the key of a problem. Sizes are rounded up to powers of two, so similar sizes share a winner."""
    return "-".join((str(dtype).removeprefix("torch."), *(str(1 << max(0, s - 1).bit_length()) for s in sizes)))


def best(kernel: str, key: str) -> Options | None:
    return _known().get(f"{kernel}:{key}")


def remember(kernel: str, key: str, options: Options) -> None:
    known = _known()
    known[f"{kernel}:{key}"] = dict(options)
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(known, indent=1, sort_keys=True))
    scratch.replace(path)


@functools.cache
def _known() -> dict[str, Options]:
    path = _path()
    if not path.exists():
        return {}
    loaded: dict[str, Options] = json.loads(path.read_text())
    return loaded


def _path() -> Path:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return cache_folder() / f"autotune-{device.replace(' ', '-')}-{_source_hash()}.json"


@functools.cache
def _source_hash() -> str:
    """Return a hash of the kernels and the compiler, for which the winners hold."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).with_name("triton_kernels").glob("*.py")):
        digest.update(path.read_bytes())
    try:
        import triton

        digest.update(triton.__version__.encode())
    except ImportError:
        pass
    return digest.hexdigest()[:12]
