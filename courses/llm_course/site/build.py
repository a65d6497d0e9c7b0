"""The builders: MkDocs, whose server has reload, and zensical, in .venv-docs, which is made from 3rdparty/docs.txt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from llm_course.errors import CourseError
from llm_course.paths import DOCS, ROOT
from llm_course.site.generate import generate
from llm_lab import paths
from llm_lab.environment import Environment
from llm_lab.errors import LabError

NEEDED = (3, 11, 5)
"""The oldest Python that all of the lock's packages run on."""
VENV = Environment(
    ROOT / ".venv-docs",
    paths.LOCKS / "docs.txt",
    python=sys.executable if sys.version_info >= NEEDED else f">={'.'.join(map(str, NEEDED))},<3.14",
)
OUR_CODE = ("courses", "libs/report", "tools/lab")
"""Folders that the builders import our extension from, and the checks this module."""
COMMANDS = {
    "mkdocs": ("mkdocs", "build", "--strict"),
    "zensical": ("zensical", "build", "--strict", "--clean"),
}
SITE = ROOT / "out" / "site"
SITES = {"mkdocs": SITE, "zensical": ROOT / "out" / "site-zensical"}
POLL_SECONDS = 0.5
INPUTS = (
    "*.md",
    "*/*.md",
    "*/*/*.md",
    "courses/0*/**/*.md",
    "courses/faults/*.*",
    "courses/0*/*.yaml",
    "courses/0*/**/exercise.toml",
)


def prepare() -> None:
    """Make .venv-docs if it is not there: about 150 MB of downloads, once. CourseError if that fails."""
    if not VENV.is_made():
        try:
            VENV.make()
        except LabError as error:
            raise CourseError(str(error)) from None
    (packages,) = (VENV.folder / "lib").glob("python3.*/site-packages")
    (packages / "llm-lab.pth").write_text("".join(f"{ROOT / folder}\n" for folder in OUR_CODE))


def build(builder: str) -> Path:
    """Write the site, warnings being errors, and return its folder; CourseError if the builder fails."""
    prepare()
    generate(ROOT)
    program, *arguments = COMMANDS[builder]
    command = (str(VENV.folder / "bin" / program), *arguments)
    done = subprocess.run(command, cwd=ROOT, env=environment(SITES[builder]), check=False)
    if done.returncode:
        raise CourseError(f"{builder} ended with status {done.returncode}; see above")
    _put_index_into_script(SITES[builder])
    return SITES[builder]


def _put_index_into_script(site: Path) -> None:
    """Write MkDocs' search index as a script as well: a page that was opened as a file may load that and no JSON."""
    index = site / "search" / "search_index.json"
    if index.exists():
        index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")


def serve(address: str) -> None:
    """Serve the site with reload until interrupted; generated pages follow their sources."""
    prepare()
    generate(ROOT)
    command = (str(VENV.folder / "bin" / "mkdocs"), "serve", "--dev-addr", address)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server is stopped on this way out as well
    server = subprocess.Popen(command, cwd=ROOT, env=environment(ROOT / "out" / "site-served"))
    try:
        seen = _state()
        while server.poll() is None:
            time.sleep(POLL_SECONDS)
            if (now := _state()) != seen:
                seen = now
                _regenerate()
    finally:
        server.terminate()
        server.wait()
    raise CourseError(f"mkdocs ended with status {server.returncode}; see above")


def check(only: str = "") -> None:
    """Build with both builders and open every page in Chromium: the tests of courses/browser that `only` selects."""
    for builder in COMMANDS:
        build(builder)
    tests = ROOT / "courses" / "browser"
    options = ("-c", str(tests / "pytest.ini"), "--rootdir", str(ROOT), "-k", only)
    command = (str(VENV.python), "-m", "pytest", *options, str(tests))
    done = subprocess.run(command, cwd=ROOT, env=environment(SITE), check=False)
    if done.returncode:
        raise CourseError(f"the site's checks ended with status {done.returncode}; see above")


def environment(site: Path) -> dict[str, str]:
    """Return the builders' environment: where to write, and none of this process's own import path."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"LLM_SITE": str(site.relative_to(ROOT)), "NO_MKDOCS_2_WARNING": "1"}


def _regenerate() -> None:
    """Generate, and print an error that a page half written can well cause, instead of ending the server."""
    try:
        generate(ROOT)
    except CourseError as error:
        print(f"lab: {error}", file=sys.stderr)


def _state() -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in _inputs() if file.is_file()}


def _inputs() -> Iterator[Path]:
    """Yield the files that generated pages are made from and that people edit while they look at the site."""
    yield from (file for file in DOCS.rglob("*.md") if "generated" not in file.parts)
    yield ROOT / "courses" / "syllabus.yaml"
    for pattern in INPUTS:
        yield from ROOT.glob(pattern)
