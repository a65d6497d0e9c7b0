from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llm_engine.checkpoint.tokenizer import Tokenizer
from llm_engine.errors import ModelError, RequestError

HELLO = [{"role": "user", "content": "hello"}]


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


def test_the_plain_template_when_the_model_has_none(folder: Path) -> None:
    assert Tokenizer(folder).apply_chat_template(HELLO) == "user: hello\nassistant:"


def test_a_template_in_the_config_or_in_its_own_file(folder: Path) -> None:
    configure(folder, "tokenizer_config.json", chat_template="{{ eos_token }}{{ messages[0].content }}")
    assert Tokenizer(folder).apply_chat_template(HELLO) == "<|endoftext|>hello"
    (folder / "chat_template.jinja").write_text("{% for m in messages %}\n[{{ m.role }}]\n{% endfor %}")
    assert Tokenizer(folder).apply_chat_template(HELLO) == "[user]\n"


def test_a_template_may_refuse_the_messages(folder: Path) -> None:
    configure(folder, "tokenizer_config.json", chat_template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(RequestError, match="roles must alternate"):
        Tokenizer(folder).apply_chat_template(HELLO)


def test_a_template_cannot_reach_python(folder: Path) -> None:
    configure(folder, "tokenizer_config.json", chat_template="{{ messages.__class__.__mro__ }}")
    with pytest.raises(RequestError):
        Tokenizer(folder).apply_chat_template(HELLO)


def test_a_broken_template_is_found_at_start(folder: Path) -> None:
    configure(folder, "tokenizer_config.json", chat_template="{% for %}")
    with pytest.raises(ModelError, match="chat template"):
        Tokenizer(folder)


def test_the_generation_config_names_the_ends_of_text_first(folder: Path) -> None:
    assert Tokenizer(folder).eos_token_ids == (0,)
    configure(folder, "generation_config.json", eos_token_id=[7, 8])
    assert Tokenizer(folder).eos_token_ids == (7, 8)
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text("{}")
    assert Tokenizer(folder).eos_token_ids == (0,)
