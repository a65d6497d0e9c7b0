from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_contract.settings import InvalidSettings, config_paths, read
from llm_contract.testing import Gate
from llm_gateway.operations.reload import LIVE, Reloader
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.keys import key_hash

START = "engines: [http://127.0.0.1:8001]\n"
CLASSES = """
classes:
- {name: interactive, priority: 0, ttft_target: 0.5, tpot_target: 0.1}
- {name: standard, priority: %d, ttft_target: %g, tpot_target: 0.2}
- {name: batch, priority: 2, ttft_target: 30, tpot_target: 1}
"""


class World:
    """A reloader over a file, with the settings that it applied and its counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(START)
        self.applied: list[GatewaySettings] = []
        self.counted: list[str] = []
        self.reloader = Reloader(self.load(), [path], self.load, self.applied.append, count=self.counted.append)

    def load(self) -> GatewaySettings:
        return read(GatewaySettings, prog="llm-gateway", argv=["--config", str(self.path)])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "gateway.yaml")


async def test_what_changed_is_applied_and_is_the_new_present(world: World) -> None:
    world.path.write_text(START + f'tenants: [{{name: blue, keys: ["{key_hash("k")}"], rpm: 5}}]\n')
    found = await world.reloader.reload()
    assert (found.result, found.changed) == ("applied", ("tenants",))
    assert world.applied == [world.reloader.current]
    assert world.reloader.current.tenants[0].rpm == 5
    assert (await world.reloader.reload()).result == "unchanged"
    assert world.counted == ["applied", "unchanged"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("engines: [", "while parsing"),
        ("engines: [nowhere]\n", "'nowhere' is not a base URL"),
        (START + "max_quue: 3\n", "max_quue: unknown setting"),
        (START + "tenants: [{name: blue, most_urgent: vip}]\n", "most_urgent 'vip' is not one of the classes"),
        (START + "port: 8099\nhost: 127.0.0.2\ntenants: [{name: blue}]\n", "host, port: a change needs a restart"),
        (START + CLASSES % (5, 2), "classes: a change of names or priorities needs a restart"),
        ("engines: [{url: 'http://127.0.0.1:9999', name: '127.0.0.1:8001'}]\n", "127.0.0.1:8001 has a new url"),
        ("", "engines: Field required"),
    ],
)
async def test_what_is_wrong_is_refused_whole(
    world: World, text: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = world.reloader.current
    world.path.write_text(text)
    found = await world.reloader.reload()
    assert found.result == "refused"
    assert says in found.reason
    assert (world.applied, world.counted, world.reloader.current) == ([], ["refused"], before)
    assert says in caplog.text


async def test_a_file_that_is_gone_is_refused_when_asked_for(world: World) -> None:
    world.path.unlink()
    assert "No such file" in (await world.reloader.reload()).reason


async def test_targets_of_a_class_may_change(world: World) -> None:
    world.path.write_text(START + CLASSES % (1, 9))
    assert (await world.reloader.reload()).changed == ("classes",)
    assert world.applied[0].classes[1].ttft_target == 9


async def test_two_reloads_at_once_are_one_after_the_other(world: World) -> None:
    world.path.write_text(START + "tenants: [{name: blue}]\n")
    found = await asyncio.gather(world.reloader.reload(), world.reloader.reload())
    assert [one.result for one in found] == ["applied", "unchanged"]


async def test_a_change_of_the_content_reloads_once_and_a_touch_does_not(world: World) -> None:
    async with Watched(world) as look:
        await look()
        assert world.counted == []
        os.utime(world.path, ns=(1, 1))
        await look()
        assert world.counted == []
        world.path.write_text(START + "tenants: [{name: blue}]\n")
        await look()
        await look()
        assert world.counted == ["applied"]
        world.path.write_text("engines: [")
        await look()
        await look()
        assert world.counted == ["applied", "refused"]
        world.path.unlink()
        await look()
        assert world.counted == ["applied", "refused"]
        world.path.write_text(START)
        await look()
        assert world.counted == ["applied", "refused", "applied"]


async def test_without_a_file_there_is_nothing_to_watch_but_it_can_be_asked_to(world: World) -> None:
    reloader = Reloader(world.load(), (), world.load, world.applied.append, count=world.counted.append)
    assert (await reloader.reload()).result == "unchanged"


async def test_a_change_of_the_second_file_reloads_as_well(tmp_path: Path) -> None:
    config, secrets = tmp_path / "gateway.yaml", tmp_path / "secrets.yaml"
    config.write_text(START)
    secrets.write_text("{}")
    argv = ["--config", str(config), "--config", str(secrets)]
    applied: list[GatewaySettings] = []

    def load() -> GatewaySettings:
        return read(GatewaySettings, prog="llm-gateway", argv=argv)

    reloader = Reloader(load(), config_paths("llm-gateway", argv), load, applied.append, count=lambda _: None)
    ticks = iter([None, None])

    async def tick() -> None:
        if next(ticks, "end") == "end":
            raise asyncio.CancelledError
        secrets.write_text(f'tenants: [{{name: blue, keys: ["{key_hash("k")}"]}}]')

    with pytest.raises(asyncio.CancelledError):
        await reloader.watch(tick)
    assert [one.tenants[0].name for one in applied] == ["blue"]


def test_live_settings_exist() -> None:
    assert set(GatewaySettings.model_fields) >= LIVE


def test_what_cannot_be_read_raises_instead_of_ending_the_program() -> None:
    with pytest.raises(InvalidSettings, match="engines: Field required"):
        read(GatewaySettings, prog="llm-gateway", argv=[])


class Watched:
    """Run `watch`. Each call of the yielded function makes one check of the file and waits for its end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._gate = Gate()
        self._gate.close()

    async def __aenter__(self) -> Callable[[], Any]:
        self._task = asyncio.create_task(self._world.reloader.watch(self._gate.wait))
        await self._parked()
        return self._look

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        self._gate.release()
        await asyncio.sleep(0)
        await self._parked()

    async def _parked(self) -> None:
        async with asyncio.timeout(30):
            while not self._gate.parked:  # noqa: ASYNC110 - a gate has no event for a test
                await asyncio.sleep(0.001)
