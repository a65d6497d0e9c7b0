"""Every project of the registry (pants.toml's source roots) is in the rules of who may import whom, and on the map."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

PROJECTS = subprocess.run(
    ["sh", "-c", "root=$PWD; . tools/python.sh; projects"], check=True, capture_output=True, text=True
).stdout.split()


def test_the_registry_is_pants_own_list() -> None:
    patterns = tomllib.loads(Path("pants.toml").read_text())["source"]["root_patterns"]
    assert {"tools/lab"} <= set(PROJECTS)
    assert all(any(fnmatch(f"/{folder}", pattern) for pattern in patterns) for folder in PROJECTS)


@pytest.mark.parametrize("folder", PROJECTS)
def test_a_project_has_a_row_in_the_rules_of_imports(folder: str) -> None:
    rows = re.findall(r'^    \(\{"path": "/(\S+?)/\*\*"\}', Path("BUILD").read_text(), re.MULTILINE)
    assert any(folder == row or folder.startswith(f"{row}/") for row in rows), f"/{folder}/** is missing in BUILD"


@pytest.mark.parametrize("folder", PROJECTS)
def test_a_project_is_on_the_map(folder: str) -> None:
    last = folder.rsplit("/", 1)[-1]
    assert re.search(rf"^ *{last}/ ", Path("README.md").read_text(), re.MULTILINE) or folder == "tools/lab"
