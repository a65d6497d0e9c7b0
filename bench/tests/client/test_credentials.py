from pathlib import Path

import pytest

from llm_bench.client.credentials import BLOT, Credentials, find_credentials, is_variable_name
from llm_bench.errors import ScenarioError


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OURS", "sk-ours\n")
    monkeypatch.setenv("ACME_KEY", "sk-acme")


def test_without_a_variable_there_is_no_key() -> None:
    credentials = find_credentials(None, {})

    assert (credentials.variable, credentials.key(), credentials.header("acme")) == (None, None, None)


def test_openais_own_variable_counts_if_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")

    assert find_credentials(None, {}).header() == "Bearer sk-openai"
    assert find_credentials("OURS", {}).header() == "Bearer sk-ours"


def test_a_key_can_be_in_a_file_that_a_variable_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "client.key").write_text("sk-file\n")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "client.key"))
    monkeypatch.setenv("OURS_FILE", str(tmp_path / "gone"))

    assert find_credentials(None, {}).header() == "Bearer sk-file"
    assert find_credentials("OURS", {}).header() == "Bearer sk-ours"
    monkeypatch.delenv("OURS")
    with pytest.raises(ScenarioError, match="the file in OURS_FILE cannot be read"):
        find_credentials("OURS", {})


def test_tenants_may_have_keys_of_their_own() -> None:
    credentials = find_credentials("OURS", {"acme": "ACME_KEY"})

    assert [credentials.key(tenant) for tenant in (None, "acme", "zeta")] == ["sk-ours", "sk-acme", "sk-ours"]
    assert find_credentials(None, {"acme": "ACME_KEY"}).key("zeta") is None


@pytest.mark.parametrize(("variable", "tenants"), [("GONE", {}), ("OURS", {"acme": "GONE"})])
def test_a_variable_that_is_named_must_be_set(variable: str, tenants: dict[str, str]) -> None:
    with pytest.raises(ScenarioError, match="the environment variable GONE holds no API key"):
        find_credentials(variable, tenants)


@pytest.mark.parametrize("key", ["two words", "line\r\nx-evil: 1", "schlüssel"])
def test_what_no_header_may_hold_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", key)

    with pytest.raises(ScenarioError, match="ODD holds characters") as raised:
        find_credentials("ODD", {})
    assert key not in str(raised.value)


def test_keys_are_blotted_out_wherever_they_are_repeated() -> None:
    credentials = Credentials("OURS", {"acme": "ACME_KEY"})

    assert credentials.blot_out("bad key sk-ours, or sk-acme") == f"bad key {BLOT}, or {BLOT}"
    assert "sk-" not in repr(credentials)


@pytest.mark.parametrize(
    ("text", "valid"), [("OPENAI_API_KEY", True), ("_K2", True), ("sk-1a2b", False), ("hf_Ab", False)]
)
def test_names_are_told_from_keys(text: str, valid: bool) -> None:
    assert is_variable_name(text) is valid
