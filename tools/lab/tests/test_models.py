"""Models by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_lab import models
from llm_lab.errors import UsageError


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent = models.Model(name="smollm2", folder=tmp_path / "smollm2", max_model_len=2048)
    monkeypatch.setattr(models, "SMOLLM2", absent)


@pytest.mark.usefixtures("not_installed")
def test_names_and_folders(tmp_path: Path) -> None:
    assert models.resolve("main") is models.MAIN is models.default()
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    found = models.resolve(str(folder))
    assert (found.name, found.folder, found.chats) == ("llama", folder, False)
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert found.chats


@pytest.mark.usefixtures("not_installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [("smollm2", "./lab model smollm2 installs it"), ("gpt-7", "expected main, smollm2 or a folder")],
)
def test_a_model_that_is_not_there_is_explained(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.resolve(name)


def test_a_converted_model_of_an_older_lock_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "SMOLLM2", models.Model(name="smollm2", folder=tmp_path))
    (tmp_path / "source.sha256").write_text("an older one")
    assert not models.is_installed()
    (tmp_path / "source.sha256").write_text(models._wanted())
    assert models.is_installed()
    assert models.default() is models.SMOLLM2
