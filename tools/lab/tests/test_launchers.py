"""`./lab` and `./pants` on machines that have this or that, made of stubs: what is there decides what is fetched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = (
    "sh", "bash", "env", "cat", "cksum", "cut", "dirname", "grep", "ls", "mkdir", "mv", "rm", "sed", "sha256sum",
    "tr", "uname", "wc", "cp", "chmod", "basename",
)  # fmt: skip

PYTHON = """#!/bin/sh
# A Python of version @VERSION@: @VENV@ a venv module.
case "$1 $2" in
  "-c import sys; print"*) echo "@VERSION@ $0" ;;
  "-c import sysconfig"*) mkdir -p "$(dirname "$0")/../packages"; echo "$(dirname "$0")/../packages" ;;
  "-m venv")
    [ "@VENV@" = with ] || exit 1
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") cp "$STUBS/uv" "$(dirname "$0")/uv" ;;
  "-m pex") while [ "$1" != -o ]; do shift; done; echo pex > "$2" ;;
  "-m llm_lab") echo "llm_lab on @VERSION@" ;;
  "-m pants.bin.pants_loader") echo "pants on @VERSION@, code on $(command -v python3.11)" ;;
  *) exit 1 ;;
esac
"""
UV = """#!/bin/sh
# A uv that can bring interpreters into $FETCHED.
for last; do :; done
case "$1 $2" in
  "python install") sed "s/@VERSION@/$last/g; s/@VENV@/with/g" "$STUBS/python.in" > "$FETCHED/python$last"
                    chmod +x "$FETCHED/python$last"; echo "installed $last" >> "$FETCHED/log" ;;
  "python find") [ -x "$FETCHED/python$last" ] && echo "$FETCHED/python$last" ;;
  "venv --quiet") while [ "$1" != --python ]; do shift; done; mkdir -p "$3/bin"; cp "$2" "$3/bin/python" ;;
  "pip sync") ;;
  *) exit 1 ;;
esac
"""


class Machine:
    """A PATH with some interpreters, perhaps a uv, and the commands that every system has."""

    def __init__(self, folder: Path, pythons: list[str], uv: bool, venv: bool) -> None:
        self.root, self.bin, self.fetched = folder / "repository", folder / "bin", folder / "fetched"
        stubs = folder / "stubs"
        for each in (self.root / "3rdparty", self.root / "tools", self.bin, self.fetched, stubs):
            each.mkdir(parents=True)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        for version in pythons:
            text = PYTHON.replace("@VERSION@", version).replace("@VENV@", "with" if venv else "without")
            _program(self.bin / f"python{version}", text)
        _program(stubs / "uv", UV)
        (stubs / "python.in").write_text(PYTHON)
        if uv:
            _program(self.bin / "uv", UV)
        for file in ("lab", "pants", "pants.toml", "tools/python.sh"):
            shutil.copy(file, self.root / file)
        (self.root / "libs" / "traces" / "llm_traces").mkdir(parents=True)
        for lock in ("python", "uv", "pants", "pex"):
            (self.root / "3rdparty" / f"{lock}.txt").write_text("pex==1.0 \\\n")
        _program(self.root / "tools" / "fetch-torch", '#!/bin/sh\necho "torch for $1 with $2" >&2\n')
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "STUBS": str(stubs),
            "FETCHED": str(self.fetched),
        }

    def run(self, launcher: str) -> tuple[int, str, str]:
        shell = str(self.bin / ("sh" if launcher == "lab" else "bash"))
        command = [shell, str(self.root / launcher)]
        ended = subprocess.run(command, env=self.environment, capture_output=True, check=False, text=True, timeout=60)
        return ended.returncode, ended.stdout, ended.stderr

    @property
    def installed(self) -> list[str]:
        log = self.fetched / "log"
        return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("pythons", "uv", "venv", "runs_on", "installed"),
    [
        # An installed interpreter is used: 3.11 first, else the newest that is supported.
        (["3.11"], False, True, "3.11", []),
        (["3.9", "3.11", "3.13"], False, True, "3.11", []),
        (["3.12"], False, True, "3.12", []),
        (["3.12", "3.13", "3.14"], False, True, "3.13", []),
        (["3.11"], True, True, "3.11", []),
        # A system's Python without its venv module is enough where there is a uv.
        (["3.12"], True, False, "3.12", []),
        # Any Python from 3.9 on brings uv, and uv a Python that is supported.
        (["3.9"], False, True, "3.11", ["3.11"]),
        (["3.10"], False, True, "3.11", ["3.11"]),
        (["3.14"], False, True, "3.11", ["3.11"]),
        # So does a uv alone.
        ([], True, True, "3.11", ["3.11"]),
        (["3.8"], True, False, "3.11", ["3.11"]),
        # Without either there is one line that says what is needed.
        ([], False, True, None, []),
        (["3.8"], False, True, None, []),
        (["3.9"], False, False, None, []),
        (["3.12"], False, False, None, []),
    ],
)
def test_lab_runs_on_what_is_at_hand_or_says_what_it_fetches(
    tmp_path: Path, *, pythons: list[str], uv: bool, venv: bool, runs_on: str | None, installed: list[str]
) -> None:
    machine = Machine(tmp_path, pythons, uv, venv)

    status, out, errors = machine.run("lab")

    assert machine.installed == installed
    if runs_on is None:
        assert (status != 0, out) == (True, "")
        assert "Traceback" not in errors
        assert errors.splitlines()[-1].startswith("lab: ")
        assert "install" in errors.splitlines()[-1]
        assert not (machine.root / ".venv" / "llm-lab-stamp").exists()
        return
    assert (status, out) == (0, f"llm_lab on {runs_on}\n"), errors
    assert f"setting up .venv with Python {runs_on}" in errors
    assert f"torch for {runs_on} with .lab/uv/bin/python" in errors
    assert ("fetching Python 3.11 (uv python install" in errors) is bool(installed)
    assert f"{machine.root}/libs/traces\n" in (machine.root / ".venv/packages/llm-lab.pth").read_text()
    assert machine.run("lab") == (0, f"llm_lab on {runs_on}\n", "")


def test_lab_makes_its_environment_anew_when_the_interpreter_is_gone_or_the_lock_has_changed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ["3.12"], uv=False, venv=True)
    machine.run("lab")
    (machine.root / "3rdparty" / "python.txt").write_text("another==2\n")
    assert "setting up .venv with Python 3.12" in machine.run("lab")[2]
    assert machine.run("lab")[2] == ""

    python = machine.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert "setting up .venv with Python 3.12" in machine.run("lab")[2]


@pytest.mark.parametrize(
    ("pythons", "uv", "venv", "installed"),
    [
        (["3.9", "3.11"], False, True, []),
        (["3.11"], False, True, ["3.9"]),
        (["3.9"], False, True, ["3.11"]),
        (["3.13"], False, True, ["3.9", "3.11"]),
        ([], True, True, ["3.9", "3.11"]),
        ([], False, True, None),
        (["3.12"], False, False, None),
    ],
)
def test_pants_runs_on_3_9_and_our_code_on_3_11(
    tmp_path: Path, *, pythons: list[str], uv: bool, venv: bool, installed: list[str] | None
) -> None:
    machine = Machine(tmp_path, pythons, uv, venv)

    status, out, errors = machine.run("pants")

    if installed is None:
        assert (status != 0, out, machine.installed) == (True, "", [])
        assert errors.splitlines()[-1].startswith("pants: ")
        return
    code = machine.fetched if "3.11" in installed else machine.bin
    assert (status, out) == (0, f"pants on 3.9, code on {code}/python3.11\n"), errors
    assert machine.installed == installed
    assert [f"fetching Python {version}" in errors for version in ("3.9", "3.11")] == [
        version in installed for version in ("3.9", "3.11")
    ]
    assert machine.run("pants")[1] == out
    assert os.path.exists(machine.root / ".lab" / "uv") is bool(installed and not uv)
