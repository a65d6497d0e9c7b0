"""Results on disks that are full: by a link to /dev/full, by a limit on the size of files in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from llm_bench.errors import ResultError
from llm_bench.report import write_report
from llm_bench.report.table import print_table
from llm_bench.results.disk_space import CHUNKS, REQUESTS, RESERVE_FILE, prepare_folder, room_for, write_result
from llm_bench.results.result import CSV_FILE, RESULT_FILE, Result, encode_csv, encode_result, read_result

MakeResult = Callable[..., Result]
FULL = Path("/dev/full")


@pytest.fixture
def result(make_result: MakeResult) -> Result:
    """Long answers: most of the result is their chunks' times."""
    made = make_result(waits={"chat": 0.2}, per_class=100)
    long = [1.0 + 0.01 * position for position in range(500)]
    records = [replace(record, chunk_times=long, chunk_tokens=[1] * 500) for record in made.requests]
    return replace(made, requests=records)


def essence_of(result: Result) -> Result:
    """Without the times of chunks after the first."""
    return replace(result, requests=[replace(one, chunk_times=[0.1], chunk_tokens=[1]) for one in result.requests])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_holds_a_result_is_refused(tmp_path: Path, result: Result) -> None:
    prepare_folder(tmp_path / "new" / "folder")
    write_result(result, tmp_path / "new" / "folder")

    with pytest.raises(ResultError, match="already holds a result"):
        prepare_folder(tmp_path / "new" / "folder")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ResultError, match="cannot be made"):
        prepare_folder(tmp_path / "file" / "below")


def test_nothing_unfinished_is_left_behind(tmp_path: Path, result: Result) -> None:
    with room_for(tmp_path, 20):
        assert (tmp_path / RESERVE_FILE).stat().st_size > 20 * 500
    kept = write_result(result, tmp_path)

    assert kept is result
    assert files(tmp_path) == [CSV_FILE, RESULT_FILE]


def test_the_room_that_is_held_is_enough_for_the_essence(tmp_path: Path, result: Result) -> None:
    essence = essence_of(result)
    with room_for(tmp_path, len(result.requests)):
        held = (tmp_path / RESERVE_FILE).stat().st_size

    assert len(encode_result(essence, indent=False)) + len(encode_csv(essence.requests)) < held


@pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
def test_when_the_disk_is_full_the_times_of_chunks_go_first(tmp_path: Path, result: Result) -> None:
    (tmp_path / f"{RESULT_FILE}.part").symlink_to(FULL)  # the first file that is written finds no space

    kept = write_result(result, tmp_path)

    assert kept.partial is not None
    assert (kept.partial.reason, kept.partial.missing) == ("No space left on device", [CHUNKS])
    read = read_result(tmp_path)
    assert read.partial == kept.partial
    assert read.summary == result.summary
    assert [record.ttft for record in read.requests] == pytest.approx([record.ttft for record in result.requests])
    assert {len(record.chunk_times) for record in read.requests} == {1}
    assert files(tmp_path) == [CSV_FILE, RESULT_FILE]


def limited(tmp_path: Path, result: Result, bytes_a_file: int) -> subprocess.CompletedProcess[str]:
    """Write the result in a process whose files cannot grow beyond that many bytes."""
    (tmp_path / "whole.json").write_bytes(encode_result(result))
    (tmp_path / "out").mkdir()
    program = """
        import resource, signal, sys
        from pathlib import Path
        from llm_bench.errors import ResultError
        from llm_bench.results.disk_space import write_result
        from llm_bench.results.result import read_result

        result = read_result(Path(sys.argv[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
        try:
            print(write_result(result, Path(sys.argv[2])).partial)
        except ResultError as error:
            sys.exit(str(error))
    """
    arguments = [str(tmp_path / "whole.json"), str(tmp_path / "out"), str(bytes_a_file)]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("room", "missing", "left"),
    [
        (lambda whole, essence: whole + 100, [], [CSV_FILE, RESULT_FILE]),
        (lambda whole, essence: essence + 1000, [CHUNKS], [CSV_FILE, RESULT_FILE]),
        (lambda whole, essence: essence // 2, [CHUNKS, CSV_FILE, REQUESTS], [RESULT_FILE]),
    ],
)
def test_what_fits_is_kept_and_says_what_is_missing(
    tmp_path: Path, result: Result, room: Callable[[int, int], int], missing: list[str], left: list[str]
) -> None:
    sizes = (len(encode_result(result)), len(encode_result(essence_of(result), indent=False)))

    done = limited(tmp_path, result, room(*sizes))

    assert done.returncode == 0, done.stderr
    read = read_result(tmp_path / "out")
    assert ([] if read.partial is None else read.partial.missing) == missing
    assert read.summary == result.summary
    assert files(tmp_path / "out") == left
    if missing:
        assert done.stdout.strip() == f"partial, without {', '.join(missing)}: File too large"


def test_where_nothing_fits_the_user_is_told(tmp_path: Path, result: Result) -> None:
    done = limited(tmp_path, result, 100)

    assert done.returncode == 1
    assert "out: the result cannot be written: File too large; nothing of it was kept" in done.stderr
    assert files(tmp_path / "out") == []


def test_no_room_is_told_before_the_load(tmp_path: Path) -> None:
    program = """
        import resource, signal, sys
        from pathlib import Path
        from llm_bench.errors import ResultError
        from llm_bench.results.disk_space import room_for

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20,) * 2)
        try:
            with room_for(Path(sys.argv[1]), 10_000):
                pass
        except ResultError as error:
            sys.exit(str(error))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "has no room for the result, which takes 6.7 MiB at least (File too large): make room" in done.stderr
    assert files(tmp_path) == []


@pytest.mark.parametrize("missing", [[CHUNKS], [CHUNKS, CSV_FILE, REQUESTS]])
def test_reports_say_that_a_result_is_partial(
    tmp_path: Path, result: Result, missing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = orjson.loads(encode_result(result))
    whole["partial"] = {"reason": "No space left on device", "missing": missing}
    if REQUESTS in missing:
        whole["requests"] = []
    (tmp_path / RESULT_FILE).write_bytes(orjson.dumps(whole))
    read = read_result(tmp_path)

    html, markdown, json = (tmp_path / name for name in ("r.html", "r.md", "r.json"))
    write_report([read], html=html, markdown=markdown, json=json)
    print_table([read])

    said = f"partial, without {', '.join(missing)}: No space left on device"
    assert f"run is {said}" in html.read_text()
    assert said in markdown.read_text()
    assert said in " ".join(capsys.readouterr().out.split())
    assert orjson.loads(json.read_bytes())["runs"][0]["partial"]["missing"] == missing
