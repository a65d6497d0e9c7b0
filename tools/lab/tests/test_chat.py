"""`./lab chat` against an engine that follows a script: what is sent, what is shown, what is remembered."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llm_contract.testing.script import Script
from llm_contract.testing.scripted_engine import Received, ScriptedEngine
from llm_lab.chat import Conversation, Speed, chat
from llm_lab.errors import LabError
from llm_lab.models import Model


@pytest.fixture
def chatting(tmp_path: Path) -> Model:
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    return Model(name="scripted", folder=tmp_path)


@pytest.fixture
async def engine() -> Any:
    async with ScriptedEngine(Script()) as running:
        yield running


async def ask(conversation: Conversation, *texts: str) -> tuple[str, list[Speed]]:
    """Return what is shown and the speeds; the client blocks, so it runs in a thread next to the engine."""
    shown = io.StringIO()
    speeds = [await asyncio.to_thread(conversation.ask, text, shown.write) for text in texts]
    return shown.getvalue(), speeds


def generations(engine: ScriptedEngine) -> list[Received]:
    return [each for each in engine.received if each.path.startswith("/v1/")]


async def test_a_conversation_sends_all_of_its_messages(engine: ScriptedEngine, chatting: Model) -> None:
    conversation = Conversation(
        url=engine.url, model=chatting, system="Be brief.", options={"max_tokens": 5, "temperature": 0}
    )
    shown, speeds = await ask(conversation, "one", "two")
    first, second = (each.body["messages"] for each in generations(engine))
    assert [message["role"] for message in first] == ["system", "user"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"] != ""
    assert shown.startswith(second[2]["content"])
    assert [speed.output_tokens for speed in speeds] == [5, 5]
    assert all(speed.ttft > 0 for speed in speeds)

    conversation.reset()
    await ask(conversation, "three")
    assert [message["role"] for message in generations(engine)[2].body["messages"]] == ["system", "user"]


async def test_a_model_without_a_chat_template_continues_each_text_by_itself(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    model = Model(name="scripted", folder=tmp_path)
    assert not model.chats
    conversation = Conversation(url=engine.url, model=model, options={"max_tokens": 3})
    await ask(conversation, "def one():", "def two():")
    received = generations(engine)
    assert [each.path for each in received] == ["/v1/completions"] * 2
    assert [each.body["prompt"] for each in received] == ["def one():", "def two():"]


async def test_a_refusal_is_one_line_with_the_servers_words(engine: ScriptedEngine, chatting: Model) -> None:
    engine.answer = (400, {"error": {"message": "temperature is too high", "code": 400}})
    with pytest.raises(LabError, match=r"^the server answered 400: temperature is too high$"):
        await ask(conversation := Conversation(url=engine.url, model=chatting), "one")
    assert conversation.messages == []


@pytest.mark.parametrize("how", ["reset", "clean end"])
async def test_a_stream_that_breaks_off_is_an_error(how: str, engine: ScriptedEngine, chatting: Model) -> None:
    if how == "reset":
        engine.die_after_chunks = 3
    else:
        engine.omit_done = True
    conversation = Conversation(url=engine.url, model=chatting, options={"max_tokens": 9})
    with pytest.raises(LabError, match="broke off" if how == "clean end" else "no answer from"):
        await ask(conversation, "one")
    assert [message["role"] for message in conversation.messages] == ["user", "assistant"]


def test_a_server_that_is_not_there_is_an_error(chatting: Model) -> None:
    with pytest.raises(LabError, match="no answer from"):
        Conversation(url="http://127.0.0.1:9", model=chatting).ask("one", print)


async def test_typing_asks_resets_and_ends(
    engine: ScriptedEngine, chatting: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answers.append((400, {"error": {"message": "not now", "code": 400}}))
    typed: Iterator[str] = iter(["refused", "one", "", "/reset", "two"])

    def read(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    console = Console(file=io.StringIO(), width=200)
    conversation = Conversation(url=engine.url, model=chatting, options={"max_tokens": 4})
    await asyncio.to_thread(chat, conversation, console)
    assert [len(each.body["messages"]) for each in generations(engine)[1:]] == [1, 1]
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count(", 4 tokens\n") == 2
    assert console.file.getvalue().count("not now") == 1


def test_the_speed_of_an_answer() -> None:
    assert str(Speed(ttft=0.0834, decode_seconds=2.0, output_tokens=41)) == "TTFT 83 ms, 20 tokens/s, 41 tokens"
    assert str(Speed(ttft=0.5, decode_seconds=0.0, output_tokens=1)) == "TTFT 500 ms, 1 tokens"
