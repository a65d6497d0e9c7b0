"""Files on a full disk: what was there stays, and nothing half-written lies under any name."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_quantize.errors import OutputError
from llm_quantize.files import write_file
from llm_quantize.report import ModelResult, write_report


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 4 kB."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("full_disk")
def test_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    write_file(file, "old")
    with pytest.raises(OutputError, match="cannot be written"):
        write_file(file, "x" * 10_000)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("full_disk")
def test_there_is_no_half_report(tmp_path: Path, make_result: Callable[..., ModelResult]) -> None:
    results = [make_result("main", "full"), make_result("main", "gptq", loss=0.01)]
    with pytest.raises(OutputError, match=r"page\.html cannot be written"):
        write_report(tmp_path, results)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
