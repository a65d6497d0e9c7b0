from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.tenancy import keys


def test_a_new_key_matches_its_hash_and_no_other() -> None:
    one, other = keys.new_key(), keys.new_key()
    digest = keys.digest_in(keys.key_hash(one))
    assert keys.matches(one, digest)
    assert not keys.matches(other, digest)
    assert not keys.matches(None, digest)
    assert one.startswith("sk-")
    assert len(one) == len("sk-") + 43


@pytest.mark.parametrize(
    "configured", ["", "sk-secret", "sha256:", "sha256:" + "0" * 63, "sha256:" + "g" * 64, "0" * 64]
)
def test_what_is_no_hash_is_refused(configured: str) -> None:
    with pytest.raises(ValueError, match="sha256:<64 hex digits>") as caught:
        keys.digest_in(configured)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, None),
        ("", None),
        ("Bearer k", "k"),
        ("bearer  k ", "k"),
        ("BEARER k", "k"),
        ("Bearer", None),
        ("Bearer   ", None),
        ("Basic k", None),
        ("Bearerk", None),
    ],
)
def test_the_bearer_header(header: str | None, key: str | None) -> None:
    assert keys.bearer(header) == key


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_any_header_is_a_key_or_none(header: str) -> None:
    key = keys.bearer(header)
    assert key is None or not keys.matches(key, bytes(32))


def test_secrets_come_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENGINE_KEY", "from-env")
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert keys.secret("env:ENGINE_KEY") == "from-env"
    assert keys.secret(f"file:{file}") == "from-file"
    assert keys.authorization("env:ENGINE_KEY") == "Bearer from-env"
    assert keys.authorization(None) is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("literal-secret", "env:NAME or file:PATH"),
        ("env:NOT_SET_ANYWHERE", "contains no secret"),
        ("file:/not/there", "No such file"),
    ],
)
def test_a_secret_that_is_not_there_is_refused(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        keys.secret(source)
    assert "literal-secret" not in str(caught.value)


def test_the_command_prints_a_key_once_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    keys.main(["new"])
    shown, line = capsys.readouterr().out.splitlines()
    assert line.endswith(f'- "{keys.key_hash(shown.split()[-1])}"')


@pytest.mark.parametrize("argv", [[], ["old"], ["new", "2"]])
def test_the_command_refuses_what_it_does_not_know(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="usage: llm-gateway key new"):
        keys.main(argv)
