from __future__ import annotations

from collections.abc import Sequence

import pytest

from llm_contract.errors import ErrorKind
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.engine import FAILURES_TO_DOWN
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.watch.health import HealthProbes
from llm_proxy.upstream.client import EngineError
from llm_proxy.upstream.connection import ConnectLate


class Answers:
    """A stand-in for the HTTP client. /health gives these answers in order."""

    def __init__(self, answers: Sequence[int | str]) -> None:
        self._answers = list(answers)

    async def fetch(self, engine: Engine, method: str, path: str, timeout: float) -> tuple[int, bytes]:
        return 404, b""

    async def health(self, engine: Engine, timeout: float) -> int:
        answer = self._answers.pop(0)
        if isinstance(answer, int):
            return answer
        phase = "headers" if answer == "late" else "connect"
        cause = ConnectLate() if answer == "connects late" else None
        raise EngineError(engine, phase, ErrorKind.ENGINE_UNAVAILABLE, answer, retryable=True) from cause  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "up"),
    [
        ([200], True),
        ([503], False),
        (["late"], False),
        ([200, *["late"] * (FAILURES_TO_DOWN - 1)], True),
        ([200, *["late"] * FAILURES_TO_DOWN], False),
        ([200, "late", 200, *["late"] * (FAILURES_TO_DOWN - 1)], True),
        ([200, *[500] * FAILURES_TO_DOWN], False),
        ([200, *["connects late"] * (FAILURES_TO_DOWN - 1)], True),
        ([200, *["connects late"] * FAILURES_TO_DOWN], False),
        ([200, "refused"], False),
        ([200, "refused", 200], True),
    ],
)
async def test_up_or_down_by_what_the_probes_find(answers: list[int | str], up: bool) -> None:
    pool = EnginePool([EngineSettings(url="http://e")])
    probes = HealthProbes(pool, Answers(answers), interval=1.0, timeout=1.0)  # type: ignore[arg-type]
    for _ in answers:
        await probes.probe(pool.engines[0])
    assert pool.engines[0].up is up
