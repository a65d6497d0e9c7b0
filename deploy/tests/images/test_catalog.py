"""Locks, Dockerfile and code agree."""

from __future__ import annotations

import re

import pytest

from llm_deploy.errors import UsageError
from llm_deploy.images import catalog
from llm_deploy.images.sbom import locked
from llm_deploy.paths import ROOT

WITH_LOCK = [image for image in catalog.IMAGES.values() if image.lock]


@pytest.mark.parametrize("image", WITH_LOCK, ids=lambda image: image.name)
def test_pins_are_those_of_the_one_lock(image: catalog.Image) -> None:
    known = (ROOT / "3rdparty" / "python.txt").read_text()
    pins = set(re.findall(r"^([\w.-]+)==([^\s;]+)", known, re.MULTILINE))
    assert image.lock
    packages = locked(image.lock)
    assert packages
    for package in packages:
        assert (package.name, package.version) in pins
        assert package.hashes
        assert all(digest in known for digest in package.hashes)


@pytest.mark.parametrize("name", ["gateway", "router", "monitor", "bench"])
def test_services_without_a_model_hold_no_torch_and_no_ray(name: str) -> None:
    names = {package.name for package in locked(catalog.IMAGES[name].lock)}
    assert names.isdisjoint({"torch", "transformers", "triton", "ray"})


@pytest.mark.parametrize("image", catalog.IMAGES.values(), ids=lambda image: image.name)
def test_the_dockerfile_has_the_target(image: catalog.Image) -> None:
    assert re.search(rf"^FROM \S+ AS {image.name}$", catalog.DOCKERFILE.read_text(), re.MULTILINE)


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="there is no image 'gatewy': use engine, gateway"):
        catalog.find(["gatewy"])


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLM_LAB_REGISTRY", "LLM_LAB_VERSION"):
        monkeypatch.setenv(name, "")
    assert catalog.tag("gateway") == "llm-lab/gateway:dev"
