"""The same queries, answered by a Prometheus over its HTTP API, for ranges that its history alone has.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import numpy as np
import orjson

from llm_monitor.promql.parse import Expression
from llm_monitor.promql.vectors import EvaluationError, Vector
from llm_monitor.series.selection import Floats, labels_of

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
TIMEOUT: Final = 30.0


class RemoteError(EvaluationError):
    """Prometheus cannot be reached, refuses the query, or answers something else than its API says."""


class Prometheus:
    """A Prometheus, or anything that has its query API."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, timeout: float = TIMEOUT) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def instant(self, expression: Expression, at: float) -> Vector:
        """Return the values at one moment. Raises RemoteError."""
        data = await self._ask("query", {"query": expression.text, "time": f"{at:.3f}"})
        return _vector(data, np.array([at]))

    async def query_range(self, expression: Expression, start: float, end: float, *, step: float) -> Vector:
        """Return the values at start, start + step, … up to end. Raises RemoteError."""
        parameters = {"query": expression.text, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        data = await self._ask("query_range", parameters)
        return _vector(data, start + step * np.arange(int((end - start) / step + 1e-9) + 1, dtype=float))

    async def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self._url}/api/v1/{path}"
        try:
            async with self._session.post(url, data=parameters, timeout=self._timeout) as response:
                body = await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RemoteError(f"{self._url} does not answer: {str(error) or type(error).__name__}") from error
        try:
            answer = orjson.loads(body)
            if answer["status"] != "success":
                raise RemoteError(f"{self._url}: {answer.get('error', 'refused without a reason')}")
            return answer["data"]
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, RemoteError):
                raise
            raise RemoteError(f"{self._url} answers {response.status} and no Prometheus JSON") from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise RemoteError(f"the answer has more than {MAX_ANSWER_BYTES} bytes; ask for fewer series or steps")
    return b"".join(parts)


def _vector(data: Any, times: Floats) -> Vector:
    try:
        if data["resultType"] == "scalar":
            return Vector.of([()], np.array([[float(data["result"][1])]]), times)
        rows = data["result"]
        values, present = np.full((len(rows), len(times)), np.nan), np.zeros((len(rows), len(times)), bool)
        step = times[1] - times[0] if len(times) > 1 else 1.0
        for row, each in enumerate(rows):
            for time, value in each["values"] if "values" in each else [each["value"]]:
                column = round((float(time) - times[0]) / step)
                values[row, column], present[row, column] = float(value), True
        return Vector([labels_of(each["metric"]) for each in rows], values, times, present)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RemoteError(f"the answer is no result of Prometheus: {error!r}") from None
