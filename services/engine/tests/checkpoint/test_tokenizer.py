from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llm_engine.checkpoint.tokenizer import Tokenizer


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(models / "main" / name, tmp_path)
    return tmp_path


def configure(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))


def test_text_round_trips(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    text = "def f(x):\n    return 'héllo 日本'\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_generation_config_names_the_ends_of_text_first(folder: Path) -> None:
    assert Tokenizer(folder).eos_token_ids == (0,)
    configure(folder, "generation_config.json", eos_token_id=[7, 8])
    assert Tokenizer(folder).eos_token_ids == (7, 8)
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text("{}")
    assert Tokenizer(folder).eos_token_ids == (0,)
