"""schemathesis against the gateway's own OpenAPI document: answers match the document and are never a 500."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 60
"""For each operation."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Run a gateway in an event loop on its own thread, since schemathesis's client blocks."""
    listening: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with ScriptedEngine(keep_records=False) as engine, RunningGateway(engine.url) as gateway:
            stop = asyncio.Event()
            listening.set_result((gateway.url, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            if not listening.done():
                listening.set_exception(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    found, loop, stop = listening.result(timeout=20)
    yield found
    loop.call_soon_threadsafe(stop.set)
    thread.join(timeout=20)
    assert not thread.is_alive()


def _document(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as response:
        return orjson.loads(response.read())


def test_answers_are_as_the_document_says(url: str) -> None:
    schema = schemathesis.openapi.from_dict(_document(url))
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/v1/completions", "/v1/chat/completions", "/v1/models", "/ready"} <= {one.path for one in operations}
    for operation in operations:
        _fuzz(operation, url)


def _fuzz(operation: schemathesis.APIOperation, url: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        response = case.call(base_url=url, timeout=20)
        case.validate_response(response, checks=CHECKS)

    check()
