"""An image's bill of materials: CycloneDX JSON, and the packages as one package URL a line, for scanners.

Python packages come from the image's lock, with the hashes that the installation checked; Debian's from dpkg in the
image. No vulnerability database is consulted here: feed the files to a scanner that has one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llm_deploy import docker
from llm_deploy.errors import DeployError
from llm_deploy.images.catalog import Image, tag
from llm_deploy.paths import OUT

DPKG_FORMAT = r"${Package} ${Version} ${Architecture}\n"


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package in an image; `hashes` are SHA-256 of the files that may be installed."""

    url: str
    name: str
    version: str
    hashes: tuple[str, ...] = ()


def write(image: Image, labels: dict[str, str], environment: docker.Environment) -> tuple[Path, Path]:
    """Write out/images/NAME.cdx.json and NAME.packages.txt and return their paths."""
    packages = sorted((*locked(image.lock), *_installed(tag(image.name), environment)))
    bill = OUT / "images" / f"{image.name}.cdx.json"
    bill.write_text(json.dumps(_bill(image, labels, packages), indent=1) + "\n")
    listed = bill.with_name(f"{image.name}.packages.txt")
    listed.write_text("".join(f"{package.url}\n" for package in packages))
    return bill, listed


def locked(lock: Path | None) -> list[Package]:
    """Return the packages of a lock without markers: each one is installed."""
    if lock is None:
        return []
    blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
    return [_python_package(block) for block in blocks]


def _python_package(block: str) -> Package:
    name, version = re.split(r"==|\s", block, maxsplit=2)[:2]
    return Package(f"pkg:pypi/{name}@{quote(version)}", name, version, tuple(re.findall(r"sha256:(\w+)", block)))


def _installed(image: str, environment: docker.Environment) -> list[Package]:
    query = ("--entrypoint", "dpkg-query", image, "--show", f"--showformat={DPKG_FORMAT}")
    done = docker.call("run", "--rm", "--network", "none", *query, environment=environment)
    if done.returncode:
        raise DeployError(f"the Debian packages of {image} could not be listed: {docker.reason(done)}")
    return [
        Package(f"pkg:deb/debian/{name}@{quote(version)}?arch={architecture}", name, version)
        for name, version, architecture in map(str.split, done.stdout.splitlines())
    ]


def _bill(image: Image, labels: dict[str, str], packages: list[Package]) -> dict[str, Any]:
    version = labels["org.opencontainers.image.version"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": labels["org.opencontainers.image.created"],
            "component": {"type": "container", "name": image.name, "version": version},
        },
        "components": [
            {
                "type": "library",
                "name": package.name,
                "version": package.version,
                "purl": package.url,
                "bom-ref": package.url,
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
            }
            for package in packages
        ],
    }
