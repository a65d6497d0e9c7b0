"""The wheels that the images install, downloaded once into a folder that the build mounts.

pip reads this machine's own settings, so wheels come from its ordinary index; every file's hash is checked.
"""

from __future__ import annotations

import re
import subprocess
from tempfile import NamedTemporaryFile

from llm_deploy.errors import DeployError
from llm_deploy.images.catalog import Image
from llm_deploy.paths import DEPLOY, ROOT

WHEELS = DEPLOY / "images" / "wheels"
TORCH = ROOT / "3rdparty" / "wheels"
PIP = ROOT / ".lab" / "uv" / "bin" / "python"
"""The environment that ./lab makes for uv has pip; .venv has none."""
# Bookworm's C library is 2.36, and pip does not count down by itself.
_PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)),
    *(f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")),
)
TARGET = (
    *("--python-version", "3.11", "--implementation", "cp", "--only-binary", ":all:"),
    *(word for platform in _PLATFORMS for word in ("--platform", platform)),
)


def download(images: list[Image]) -> None:
    """Download what the images' locks name and the folder lacks. Raises DeployError with pip's last line.

    Locks share most of their pins, and pip asks the index about each: one run for all takes less than half the time.
    """
    locks = [ROOT / "3rdparty" / "uv.txt", *(image.lock for image in images if image.lock)]
    pins = dict.fromkeys(pin for lock in locks for pin in re.split(r"\n(?=\S)", lock.read_text().strip()))
    sources = ("--find-links", str(WHEELS), "--find-links", str(TORCH))
    with NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = (
            *(str(PIP), "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"),
            *("--require-hashes", *TARGET, *sources, "--dest", str(WHEELS), "--requirement", file.name),
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"wheels of {', '.join(image.name for image in images)} are missing: {_reason(done.stderr)}")


def _reason(stderr: str) -> str:
    lines = (
        [line for line in stderr.splitlines() if line.startswith("ERROR: ")] or stderr.splitlines() or ["pip failed"]
    )
    return lines[-1].removeprefix("ERROR: ")
