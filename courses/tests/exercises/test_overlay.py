"""The overlaid engine is the one that runs: here, in other ranks, and in the process that reads large bodies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from llm_course.exercises import overlay
from llm_course.paths import MODELS

MODEL = str(MODELS / "zoo" / "llama")


def marked(name: str, marks: Path) -> str:
    """Return a module of the engine that leaves a file with its process's name when it is imported."""
    note = (
        "import multiprocessing as _mp\nfrom pathlib import Path as _P\n"
        f"(_P({str(marks)!r}) / _mp.current_process().name).touch()\n"
    )
    return (overlay.ENGINE / name).read_text().replace("\n\nfrom __future__", "\n\nfrom __future__", 1) + "\n" + note


def test_a_folder_is_brought_up_to_date(tmp_path: Path) -> None:
    folder = overlay.build(tmp_path, {"scheduler/policies.py": "A = 1", "scheduler/new.py": "B = 2"})
    package = folder / "llm_engine"
    assert (package / "scheduler/policies.py").read_text() == "A = 1"
    assert (package / "engine.py").resolve() == overlay.ENGINE / "engine.py"
    assert (package / "observers/trace.schema.json").exists()
    mine = tmp_path / "mine.py"
    mine.write_text("A = 3")
    overlay.build(tmp_path, {"scheduler/policies.py": mine})
    assert (package / "scheduler/policies.py").resolve() == mine
    assert not (package / "scheduler/new.py").exists()
    overlay.build(tmp_path, {})
    assert (package / "scheduler/policies.py").resolve() == overlay.ENGINE / "scheduler/policies.py"


def test_engines_stay_apart(tmp_path: Path) -> None:
    from llm_engine.scheduler import policies

    engine = overlay.Engine(overlay.build(tmp_path, {"scheduler/policies.py": "A = 1"}))
    for _ in range(2):
        with engine.active():
            from llm_engine.scheduler import policies as other

            assert other.A == 1
            with overlay.PLAIN.active():
                from llm_engine.scheduler import policies as plain

                assert hasattr(plain, "Policies")
            from llm_engine.scheduler import policies as again

            assert again is other
    from llm_engine.scheduler import policies as after

    assert after is policies


def test_other_ranks_and_the_reader_use_it(tmp_path: Path) -> None:
    """Spawned processes get the module path, so they import the overlay as well."""
    marks = tmp_path / "marks"
    marks.mkdir()
    modules = {name: marked(name, marks) for name in ("execution/decoder.py", "server/reading/reader.py")}
    with overlay.Engine(overlay.build(tmp_path / "engine", modules)).active():
        from llm_engine import LLM, SamplingParams
        from llm_engine.checkpoint.tokenizer import Tokenizer
        from llm_engine.request.check import RequestCheck
        from llm_engine.server.reading.intake import ReaderProcess
        from llm_engine.server.reading.reader import Reader

        llm = LLM(MODEL, tensor_parallel_size=2, num_gpu_blocks_override=64, max_model_len=64)
        try:
            params = SamplingParams(temperature=0, max_tokens=2, ignore_eos=True)
            llm.generate([[5, 6, 7]], params, use_tqdm=False)
        finally:
            llm.engine.close()
        reader = ReaderProcess(Reader(Tokenizer(Path(MODEL)), RequestCheck(4096, 64, 5), "main"), Path(MODEL))
        try:
            reader.call("tokenize", b'{"prompt": "a"}')
        finally:
            reader.close()
    assert {path.name for path in marks.iterdir()} == {"MainProcess", "rank-1", "reader"}


def test_a_started_program_uses_it(tmp_path: Path) -> None:
    folder = overlay.build(tmp_path, {"version.py": '__version__ = "mine"'})
    with overlay.Engine(folder).active():
        done = subprocess.run(
            [sys.executable, "-m", "llm_engine", "--version"], capture_output=True, text=True, check=True
        )
    assert done.stdout == "mine\n"
