"""A client of one running engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, TypeAlias

import aiohttp

from llm_contract.exposition import read_samples
from llm_course.errors import CourseError

Seen: TypeAlias = dict[str, float | int | str]
"""Findings of a load, each under the name by which it is printed."""
Prompt: TypeAlias = str | list[int]
SECONDS = 60.0
"""Longest wait for an answer. An engine with a fault can keep a client waiting for good."""
PREEMPTIONS = "vllm:num_preemptions_total"
USAGE = "vllm:kv_cache_usage_perc"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"


def drawn(length: int, seed: int) -> list[int]:
    """Return a prompt of ordinary token ids, the same for the same seed."""
    random = Random(seed)
    return [random.randrange(300, 900) for _ in range(length)]


class Client:
    """Greedy requests that ignore the end of the text, so that their lengths are known."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def texts(self, prompt: Prompt, max_tokens: int, **fields: Any) -> list[str]:
        """Return the text of each answer; none if the engine fails, is gone, or takes longer than SECONDS."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(f"{self._url}/v1/completions", json=_body(prompt, max_tokens, fields)) as got:
                answer = await got.json()
                if 400 <= got.status < 500:
                    raise CourseError(f"the engine refuses the load: {answer['error']['message']}")
                return [choice["text"] for choice in answer.get("choices", [])]
        return []

    async def text(self, prompt: Prompt, max_tokens: int, **fields: Any) -> str | None:
        return next(iter(await self.texts(prompt, max_tokens, **fields)), None)

    async def all(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[str | None]:
        """Send all prompts at once and return their answers."""
        return await asyncio.gather(*map(self.text, prompts, lengths))

    async def each(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[str | None]:
        """Send the prompts one by one and return their answers."""
        return [await self.text(prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]

    async def hang_up(self, prompt: Prompt, max_tokens: int, after: asyncio.Event | None = None) -> None:
        """Read a stream's first token, wait for `after`, and close the connection."""
        with suppress(aiohttp.ClientError, TimeoutError):
            body = _body(prompt, max_tokens, {"stream": True})
            async with self._session.post(f"{self._url}/v1/completions", json=body) as got:
                await got.content.readline()
                if after is not None:
                    await after.wait()
                got.close()

    async def metrics(self) -> dict[str, float]:
        """Return each metric, summed over its labels, and aborts; nothing if the engine is gone."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(f"{self._url}/metrics") as got:
                samples = list(read_samples((await got.read()).splitlines()))
            sums: dict[str, float] = {}
            for sample in samples:
                name = sample.name.decode()
                sums[name] = sums.get(name, 0.0) + sample.value
            return sums
        return {}

    async def metric(self, name: str) -> float:
        return (await self.metrics()).get(name, 0.0)

    async def until(self, is_so: Callable[[dict[str, float]], bool], seconds: float = 5.0) -> None:
        """Wait until the metrics are as wanted; at most `seconds`, as those of a faulty engine may never be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_so(await self.metrics()):  # noqa: ASYNC110 (the engine is another process)
                    await asyncio.sleep(0.01)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Client(url, session)


def _body(prompt: Prompt, max_tokens: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, **fields}
