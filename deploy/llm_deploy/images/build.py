"""Build images and measure them."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from llm_deploy import docker
from llm_deploy.errors import DeployError
from llm_deploy.images.base import Base
from llm_deploy.images.catalog import DOCKERFILE, Image, tag, version
from llm_deploy.paths import OUT, ROOT

SITE = OUT / "site"


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built: its name for Docker, its size, and the time that the build took."""

    image: Image
    tag: str
    megabytes: float
    seconds: float


def build(image: Image, base: Base, environment: docker.Environment) -> Built:
    """Build one image. Raises DeployError with the builder's last line; its whole output is in out/images/NAME.log."""
    if image.name == "docs":
        _write_site()
    started = time.monotonic()
    log = OUT / "images" / f"{image.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = environment | {"DOCKER_BUILDKIT": "1"}
    with log.open("w") as output:
        done = subprocess.run(_command(image, base), cwd=ROOT, env=variables, stdout=output, stderr=output, check=False)
    if done.returncode:
        last = (log.read_text().strip().splitlines() or ["no output"])[-1]
        raise DeployError(f"image {image.name} could not be built, see {log.relative_to(ROOT)}: {last}")
    return Built(image, tag(image.name), megabytes(tag(image.name), environment), time.monotonic() - started)


def megabytes(image: str, environment: docker.Environment) -> float:
    """Return the image's size as Docker counts it, in units of 10^6 bytes. Raises DeployError if there is none."""
    done = docker.call("image", "inspect", "--format", "{{.Size}}", image, environment=environment)
    if done.returncode:
        raise DeployError(f"there is no image {image}: ./lab images builds it")
    return int(done.stdout) / 1e6


def labels() -> dict[str, str]:
    """Return the OCI labels, which depend on the commit only: two builds of a commit have the same."""
    revision, created = _git("log", "-1", "--format=%H %cI").split()
    return {
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.revision": revision + ("-modified" if _git("status", "--porcelain") else ""),
        "org.opencontainers.image.version": version(),
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


def _command(image: Image, base: Base) -> list[str]:
    return [
        *("docker", "build", "--progress", "plain", "--file", str(DOCKERFILE), "--target", image.name),
        *("--build-arg", f"PYTHON_IMAGE={base.python}", "--build-arg", f"COMPILER_IMAGE={base.compiler}"),
        *(word for name, value in labels().items() for word in ("--label", f"{name}={value}")),
        *("--label", f"org.opencontainers.image.title={image.name}", "--tag", tag(image.name), "."),
    ]


def _git(*arguments: str) -> str:
    done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"the labels name the commit, and git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _write_site() -> None:
    """Write the course's site if it is not there."""
    if (SITE / "index.html").exists():
        return
    if subprocess.run((sys.executable, "-m", "llm_course", "docs", "build"), cwd=ROOT, check=False).returncode:
        raise DeployError("the course's pages could not be written, see above: ./lab docs build")
