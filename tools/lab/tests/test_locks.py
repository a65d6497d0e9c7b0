"""The locks keep the promises that the launchers build on."""

import re
from pathlib import Path

import pytest

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
