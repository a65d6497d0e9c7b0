"""The images that ours are built from: Python's own from a registry, or a stand-in made of Debian's packages.

The stand-in has the same Python version, at /usr/bin instead of /usr/local/bin. It is for machines that reach Debian's
mirror and no registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from llm_deploy import docker
from llm_deploy.errors import DeployError

PULLED = "python:3.11-slim-bookworm"
PULLED_COMPILER = "python:3.11-bookworm"
DEBIAN = "debian"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# python:3.11-slim has these as well, and no manual pages and translations.
PACKAGES = {"python": ("python3", "ca-certificates", "libstdc++6"), "compiler": ("python3", "g++")}
LEFT_OUT = ("doc/*", "man/*", "locale/*", "info/*")


@dataclass(frozen=True, slots=True)
class Base:
    """The Dockerfile's two arguments."""

    python: str
    compiler: str


def find(name: str | None, environment: docker.Environment) -> Base:
    """Return the base images for `--base`; make or pull what is missing. Raises DeployError if that cannot be done."""
    if name == DEBIAN:
        with ThreadPoolExecutor() as pool:
            return Base(*pool.map(lambda kind: _from_packages(kind, environment), PACKAGES))
    base = Base(name or PULLED, name or PULLED_COMPILER)
    for image in {base.python, base.compiler}:
        if not docker.has_image(image, environment):
            _pull(image, environment)
    return base


def _pull(image: str, environment: docker.Environment) -> None:
    done = docker.call("pull", "--quiet", image, environment=environment)
    if done.returncode:
        raise DeployError(
            f"the base image {image} could not be pulled ({docker.reason(done)}): "
            f"check the network, or make a stand-in from Debian's packages with --base {DEBIAN}"
        )


def _from_packages(kind: str, environment: docker.Environment) -> str:
    image = f"llm-lab/{kind}:bookworm"
    if docker.has_image(image, environment):
        return image
    if shutil.which("mmdebstrap") is None:
        raise DeployError(f"--base {DEBIAN} needs mmdebstrap: tools/docker-packages installs it (as root)")
    if os.geteuid() != 0:
        raise DeployError(f"--base {DEBIAN} unpacks packages of the system and needs root: run it with sudo")
    print(f"making {image} from Debian's packages …", flush=True)
    with subprocess.Popen(_mmdebstrap(kind), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as packages:
        done = docker.call("import", "-", image, environment=environment, stdin=packages.stdout)
        _, errors = packages.communicate()
    if packages.returncode or done.returncode:
        raise DeployError(
            f"{image} could not be made: {(errors.decode().strip() or docker.reason(done)).splitlines()[-1]}"
        )
    return image


def _mmdebstrap(kind: str) -> list[str]:
    return [
        *("mmdebstrap", "--quiet", "--variant=essential", "--aptopt=APT::Install-Recommends false"),
        # Without the hook, dpkg's packages for a merged /usr bring all of Perl.
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *(f"--dpkgopt=path-exclude=/usr/share/{path}" for path in LEFT_OUT),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f"--include={','.join((*PACKAGES[kind], 'usr-is-merged'))}",
        *("bookworm", "-", *([str(SOURCES)] if SOURCES.exists() else [])),
    ]
