"""Each image's lock asks for what its packages import, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_deploy.images.catalog import IMAGES, LOCKS, Image
from llm_deploy.images.sbom import locked
from llm_deploy.paths import ROOT

WITH_LOCK = [image for image in IMAGES.values() if image.lock]
DISTRIBUTIONS = {
    "opentelemetry.context": "opentelemetry-api",
    "opentelemetry.trace": "opentelemetry-api",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.proto": "opentelemetry-proto",
    "pynvml": "nvidia-ml-py",
    "yaml": "pydantic-settings",
}
"""Distributions whose name is not the import's; PyYAML is asked for as pydantic-settings[yaml]."""


def folder_of(package: str) -> Path:
    (found,) = (path.parent for pattern in ("*", "*/*") for path in ROOT.glob(f"{pattern}/{package}/__init__.py"))
    return found


def modules(image: Image) -> Iterator[tuple[str, Path]]:
    """Yield the names and files of the modules that run in an image."""
    for package in image.packages:
        folder = folder_of(package)
        for file in folder.rglob("*.py"):
            name = ".".join(file.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
            if not any(f"{name}.".startswith(f"{part}.") for part in image.without):
                yield name, file


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a module imports, wherever it does; `from opentelemetry import trace` gives both parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def distribution(module: str) -> str:
    """Return the distribution that a module is of."""
    first, _, rest = module.partition(".")
    if first == "opentelemetry":
        first = f"opentelemetry.{rest.partition('.')[0]}"
    return DISTRIBUTIONS.get(first, first.replace("_", "-"))


def needs(image: Image) -> dict[str, str]:
    """Return the distributions that an image's modules import, each with a module that does."""
    known = {*sys.stdlib_module_names, *image.packages}
    return {
        distribution(name): module
        for module, file in modules(image)
        for name in imported(ast.parse(file.read_text()))
        if name.partition(".")[0] not in known
    }


def asked(image: Image) -> set[str]:
    lines = (LOCKS / f"{image.name}.in").read_text().splitlines()
    return {re.split(r"[\[<=>;]", line)[0].strip() for line in lines if line.strip() and not line.startswith("#")}


@pytest.mark.parametrize("image", WITH_LOCK, ids=lambda image: image.name)
def test_a_lock_asks_for_what_is_imported(image: Image) -> None:
    wanted = needs(image)
    assert {name: wanted[name] for name in wanted.keys() - asked(image)} == {}, "imported, and not asked for"
    assert asked(image) - wanted.keys() == set(), "asked for, and imported nowhere"


@pytest.mark.parametrize("image", WITH_LOCK, ids=lambda image: image.name)
def test_a_lock_has_all_that_is_asked_for(image: Image) -> None:
    assert asked(image) <= {package.name for package in locked(image.lock)}


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_parts_that_never_run_exist(image: Image) -> None:
    for part in image.without:
        path = folder_of(part.partition(".")[0]).parent.joinpath(*part.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), part


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_the_dockerfile_copies_the_packages_that_the_lock_is_for(image: Image) -> None:
    """Follow the target's stages down to the base."""
    text = (LOCKS.parent / "Dockerfile").read_text()
    stages = {
        name: (base, body)
        for base, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.S | re.M)
    }
    copied: set[str] = set()
    name = image.name
    while name in stages:
        name, body = stages[name]
        copied |= set(re.findall(r"/app/(llm_\w+)$", body, re.M))
    assert copied == set(image.packages)


def test_the_health_check_needs_the_standard_library_only() -> None:
    """The image `docs` has no packages: only this module of llm_contract works there."""
    package = folder_of("llm_contract")
    for file in (package / "__init__.py", package / "probe.py"):
        assert {name.partition(".")[0] for name in imported(ast.parse(file.read_text()))} <= sys.stdlib_module_names
