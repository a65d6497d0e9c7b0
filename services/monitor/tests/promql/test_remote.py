from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from llm_monitor.promql import parse, remote
from llm_monitor.promql.remote import Prometheus, RemoteError

SERIES = {"metric": {"__name__": "x", "job": "a"}}


class Answers:
    def __init__(self) -> None:
        self.body = b""
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(await request.post())))  # type: ignore[arg-type]
        return web.Response(body=self.body, status=200)

    def data(self, kind: str, result: object) -> None:
        self.body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def prometheus(answers: Answers) -> AsyncIterator[Prometheus]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Prometheus(f"http://127.0.0.1:{runner.addresses[0][1]}/", session)
    await runner.cleanup()


async def test_a_range_fills_the_steps_that_have_a_sample(answers: Answers, prometheus: Prometheus) -> None:
    answers.data("matrix", [{**SERIES, "values": [[100, "1"], [130, "NaN"]]}])
    vector = await prometheus.query_range(parse("x"), 100, 130, step=15)
    assert vector.labels == [(("__name__", "x"), ("job", "a"))]
    assert vector.present.tolist() == [[True, False, True]]
    assert answers.asked == [
        ("/api/v1/query_range", {"query": "x", "start": "100.000", "end": "130.000", "step": "15.000"})
    ]


async def test_an_instant_and_a_scalar(answers: Answers, prometheus: Prometheus) -> None:
    answers.data("vector", [{**SERIES, "value": [100, "+Inf"]}])
    assert (await prometheus.instant(parse("x"), 100)).values.tolist() == [[float("inf")]]
    answers.data("scalar", [100, "3"])
    scalar = await prometheus.instant(parse("3"), 100)
    assert (scalar.labels, scalar.values.tolist()) == ([()], [[3.0]])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"status": "error", "error": "many-to-many"}', "many-to-many"),
        (b"<html>", "no Prometheus JSON"),
        (b"[]", "no Prometheus JSON"),
        (b'{"status": "success", "data": {"resultType": "matrix", "result": [{}]}}', "no result of Prometheus"),
    ],
)
async def test_other_answers_are_errors(answers: Answers, prometheus: Prometheus, body: bytes, says: str) -> None:
    answers.body = body
    with pytest.raises(RemoteError, match=says):
        await prometheus.instant(parse("x"), 100)


async def test_an_answer_without_end_is_cut_off(
    answers: Answers, prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_ANSWER_BYTES", 1000)
    answers.body = b" " * 2000
    with pytest.raises(RemoteError, match="1000 bytes"):
        await prometheus.instant(parse("x"), 100)


async def test_nobody_there() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(RemoteError, match="does not answer"):
            await Prometheus("http://127.0.0.1:9", session).instant(parse("x"), 100)
