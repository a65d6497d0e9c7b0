"""The vendored files are those of their packages, and the page loads no file that it does not serve."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources

STATIC = resources.files("llm_monitor.web").joinpath("static")
VENDOR = STATIC.joinpath("vendor")


def test_vendored_files_are_unchanged() -> None:
    manifest = json.loads(VENDOR.joinpath("manifest.json").read_text())
    files = {file["file"]: file["sha256"] for package in manifest["packages"] for file in package["files"]}
    assert {path.name for path in VENDOR.iterdir()} == {*files, "manifest.json"}
    for name, expected in files.items():
        assert hashlib.sha256(VENDOR.joinpath(name).read_bytes()).hexdigest() == expected, name


def test_every_module_is_preloaded_and_exists() -> None:
    page = STATIC.joinpath("index.html").read_text()
    named = set(re.findall(r'"/static/([\w.]+)"', page))
    own = {path.name for path in STATIC.iterdir() if path.name.endswith((".js", ".css", ".svg"))}
    assert named == own | {"uplot.js", "uplot.css", "theme.css"}


def test_no_module_makes_markup_from_text() -> None:
    for path in (path for path in STATIC.iterdir() if path.name.endswith(".js")):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()), path
