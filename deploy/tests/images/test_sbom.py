"""The bill of materials has what a scanner asks for: each package's URL, version and hashes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from llm_deploy import docker
from llm_deploy.errors import DeployError
from llm_deploy.images import sbom
from llm_deploy.images.catalog import IMAGES

LABELS = {"org.opencontainers.image.created": "2026-11-30T06:00:00+00:00", "org.opencontainers.image.version": "1.2"}
DPKG = "libc6 2.36-9+deb12u13 amd64\nadduser 3.134 all\n"
IMAGE = IMAGES["gateway"]


class FakeDocker:
    def __init__(self) -> None:
        self.error = ""

    def call(self, *arguments: str, environment: docker.Environment) -> docker.Done:
        assert arguments[:4] == ("run", "--rm", "--network", "none")
        return subprocess.CompletedProcess(arguments, 1 if self.error else 0, DPKG, self.error)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    made = FakeDocker()
    monkeypatch.setattr(docker, "call", made.call)
    monkeypatch.setattr(sbom, "OUT", tmp_path)
    (tmp_path / "images").mkdir()
    return made


def test_it_is_cyclonedx_with_python_and_debian_packages(fake: FakeDocker) -> None:
    path, _ = sbom.write(IMAGE, LABELS, {})
    bill = json.loads(path.read_text())
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert bill["metadata"]["timestamp"] == "2026-11-30T06:00:00+00:00"
    assert bill["metadata"]["component"] == {"type": "container", "name": "gateway", "version": "1.2"}
    found = {component["purl"]: component for component in bill["components"]}
    assert len(found) == len(bill["components"]) == len(sbom.locked(IMAGE.lock)) + 2
    assert found["pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64"]["version"] == "2.36-9+deb12u13"
    assert all(component["type"] == "library" for component in found.values())


def test_python_packages_have_the_hashes_of_the_lock(fake: FakeDocker) -> None:
    assert IMAGE.lock
    lock = IMAGE.lock.read_text()
    path, _ = sbom.write(IMAGE, LABELS, {})
    components = json.loads(path.read_text())["components"]
    python = [component for component in components if component["purl"].startswith("pkg:pypi/")]
    assert all(component["hashes"] for component in python)
    digests = [one["content"] for component in python for one in component["hashes"]]
    assert sorted(digests) == sorted(re.findall(r"sha256:([0-9a-f]{64})\b", lock))
    assert {one["alg"] for component in python for one in component["hashes"]} == {"SHA-256"}


def test_the_list_for_scanners_has_one_package_url_a_line(fake: FakeDocker) -> None:
    bill, listed = sbom.write(IMAGE, LABELS, {})
    urls = [component["purl"] for component in json.loads(bill.read_text())["components"]]
    assert listed.read_text().splitlines() == urls == sorted(urls)


def test_an_image_that_cannot_run_is_one_line(fake: FakeDocker) -> None:
    fake.error = "Error response from daemon: No such image: llm-lab/gateway:dev"
    expected = "^the Debian packages of llm-lab/gateway:dev could not be listed: No such image: llm-lab/gateway:dev$"
    with pytest.raises(DeployError, match=expected):
        sbom.write(IMAGE, LABELS, {})
