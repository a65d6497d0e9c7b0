"""Vendored files are those of the manifest, and the site's colours are the project's."""

from __future__ import annotations

import hashlib
import json
import re

from llm_course.paths import DOCS
from llm_report.theme import style_sheet

VENDOR = DOCS / "assets" / "vendor"


def test_vendored_files_have_the_hashes_of_the_manifest() -> None:
    packages = json.loads((VENDOR / "manifest.json").read_text())["packages"]
    listed = {each["file"]: each["sha256"] for package in packages for each in package["files"]}
    there = {file.relative_to(VENDOR).as_posix(): file for file in VENDOR.rglob("*") if file.is_file()}
    del there["manifest.json"]
    assert {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in there.items()} == listed
    for package in packages:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
        assert f"{package['name']}/LICENSE" in listed


def colours(css: str, opening: str) -> dict[str, str]:
    """Return variable -> value of the first block that `opening` begins."""
    block = css[css.index(opening) :].split("}")[0]
    return dict(re.findall(r"(--(?:paper|panel|ink|soft|faint|rule|base|hue\d|good|bad)): (#\w+)", block))


def test_the_sites_colours_are_those_of_the_theme() -> None:
    theme, site = style_sheet(), (DOCS / "assets" / "css" / "course.css").read_text()
    light, dark = theme.split("@media (prefers-color-scheme: dark)", 1)
    assert colours(site, '[data-md-color-scheme="default"] {') == colours(light, ":root {") != {}
    assert colours(site, '[data-md-color-scheme="slate"] {') == colours(dark, ":root {") != {}


def test_the_style_sheet_fetches_nothing() -> None:
    css = (DOCS / "assets" / "css" / "course.css").read_text()
    assert "url(" not in css
    assert "@import" not in css
