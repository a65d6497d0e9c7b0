from __future__ import annotations

import asyncio
import math
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support_exporter import exporter, until
from tests.support_history import BEGIN, environment, page, read

from llm_monitor.commands.record import main
from llm_monitor.history.recording import InvalidRecording, Recorder, read_recording
from llm_monitor.history.replay import Replay
from llm_monitor.series import Head, Page, labels_of


class Clock:
    def __init__(self, now: float = BEGIN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def record(path: Path, seconds: int = 60) -> Head:
    """Record two targets; one of them is down for a while, and a series comes late."""
    clock, head = Clock(), Head()
    recorder = Recorder(path, head, now=clock)
    for step in range(1, seconds * 4 + 1):
        clock.now = BEGIN + step / 4
        head.append("a", clock.now, page({"x": float(step), **({"late": math.inf} if step > 50 else {})}))
        up = not 80 <= step < 100
        if up:
            head.append("b", clock.now - 0.1, page({"y": step * 2.0}, "b"))
        else:
            head.end("b", clock.now - 0.1)
        head.append(
            "b report", clock.now, Page.of({labels_of({"__name__": "up", "instance": "b", "job": "j"}): float(up)})
        )
        if step % 20 == 0:
            recorder.write(clock.now - 1.5)
    recorder.close()
    return head


async def replay(path: Path, **options: float) -> tuple[Head, Replay, list[float]]:
    head, cycles = Head(), []
    replayed = Replay(path, head, **options)
    replayed.on_cycle(cycles.append)
    await replayed.run()
    return head, replayed, cycles


async def test_a_replay_gives_the_samples_at_shifted_times(tmp_path: Path) -> None:
    original = record(tmp_path / "r")
    head, replayed, cycles = await replay(tmp_path / "r", speed=10_000)
    shift = cycles[0] - BEGIN
    for name in ("x", "y", "late", "up"):
        expected = [(round(time, 2), value) for time, value in read(original, name)]
        found = [(round(time - shift, 2), value) for time, value in read(head, name)]
        assert found[: len(expected)] == expected
        assert [value for _, value in found[len(expected) :]] in ([None], []), "then all series end"
    assert cycles == sorted(cycles)
    assert [(state.instance, state.job, state.up) for state in replayed.states()] == [("b", "j", True)]


async def test_a_replay_takes_its_time(tmp_path: Path) -> None:
    record(tmp_path / "r", seconds=2)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await replay(tmp_path / "r", speed=10)
    assert loop.time() - begin >= 0.19


async def test_a_replay_has_a_clock(tmp_path: Path) -> None:
    record(tmp_path / "r", seconds=1)
    clock = Clock(5000.0)
    replayed = Replay(tmp_path / "r", Head(), speed=3, clock=clock)
    clock.now = 5002.0
    assert replayed.now() == 5006.0


async def test_a_recorder_beside_a_collector_writes_what_is_left_when_it_is_stopped(tmp_path: Path) -> None:
    head, clock = Head(), Clock()
    recorder = Recorder(tmp_path / "r", head, now=clock)
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    clock.now = BEGIN + 1
    head.append("a", BEGIN + 1, page({"x": 1.0}))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    _, moments = read_recording(tmp_path / "r")
    assert [(moment.time, moment.values.tolist()) for moment in moments] == [(BEGIN + 1, [1.0])]


def test_a_recording_can_begin_in_the_past(tmp_path: Path) -> None:
    head = Head()
    for step in range(10):
        head.append("a", BEGIN + step, page({"x": float(step)}))
    Recorder(tmp_path / "r", head, begin=BEGIN + 4, now=Clock(BEGIN + 9)).close()
    begin, moments = read_recording(tmp_path / "r")
    assert begin == BEGIN + 4
    assert [moment.values[0] for moment in moments] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("cut", range(1, 400, 23))
def test_a_recording_that_was_cut_off_is_read_up_to_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r"
    record(path, seconds=10)
    whole = [(moment.time, moment.target) for moment in read_recording(path)[1]]
    path.write_bytes(path.read_bytes()[:-cut])
    part = [(moment.time, moment.target) for moment in read_recording(path)[1]]
    assert set(part) < set(whole)
    assert len(part) > 0


def test_a_recording_is_small_and_never_overwritten(tmp_path: Path) -> None:
    record(tmp_path / "r", seconds=600)
    assert (tmp_path / "r").stat().st_size < 200_000
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "r", Head())


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"[1]\n", b'{"format": "x"}\n', b'{"format": "llm-monitor recording"}\n']
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(InvalidRecording, match="no recording"):
        Replay(tmp_path / "r", Head())


def test_a_newer_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"format": "llm-monitor recording", "version": 2, "begin": 1}\n')
    with pytest.raises(InvalidRecording, match="newer"):
        read_recording(tmp_path / "r")


async def test_the_command_records_a_target_until_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "r"
    async with exporter() as served:
        command = (sys.executable, "-m", "llm_monitor", "record", str(path), served.address)
        process = await asyncio.create_subprocess_exec(*command, env=environment())
        await until(lambda: served.requests >= 5)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    moments = [moment for moment in read_recording(path)[1] if moment.target == f"http://{served.address}/metrics"]
    assert [moment.values.tolist() for moment in moments][:4] == [[1.0]] * 4
    assert math.isnan(moments[-1].values[0]), "the end of the series is in the recording"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [(["r"], "name a target"), (["r", "ftp://x"], "no target"), (["/no/r", "x:1"], "No such")],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with suppress(SystemExit):
        assert main(argv) == 2
    assert reason in capsys.readouterr().err
