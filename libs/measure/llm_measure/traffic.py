"""A closed load whose every answer is checked: complete, and the same text, word by word, as undisturbed.

async with Traffic(url, unary=16, streams=16) as traffic:
    …                                                  # kill something
traffic.summary()                                      # lost requests, unfinished streams, wrong texts, latencies

Each client sends its next request when it has the answer to the last. Clients alternate between completions and chats.
Prompts are greedy, so a real engine gives the same text again as well.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Self

import aiohttp
import orjson

from llm_contract import sse
from llm_measure.stats import summary

PROMPTS = tuple(f"def function_{number}(argument):" for number in range(8))
PAUSE_SECONDS = 0.1
"""A client's pause after an answer that was not good, as clients back off."""
LOST = ("lost_unary", "unfinished_streams", "wrong_texts")
"""The counts in a summary that must be 0."""
Outcome = Literal["ok", "refused", "failed", "unfinished", "wrong text", "wrong usage"]


@dataclass(slots=True, kw_only=True)
class Answer:
    stream: bool
    sent: float
    """Seconds of the monotonic clock, like all moments here."""
    outcome: Outcome = "failed"
    detail: str = ""
    """The error that the client saw, if the outcome is not "ok"."""
    engine: str = ""
    text: str = ""
    tokens: int = -1
    """Completion tokens by the answer's usage."""
    arrivals: list[float] = field(default_factory=list)
    """When each piece of text arrived."""
    ended: float = 0.0

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.arrivals)]


class Traffic:
    """`unary` and `streams` clients that send until the block ends and then wait for their last answers."""

    def __init__(
        self,
        url: str,
        *,
        unary: int = 0,
        streams: int = 0,
        tokens: int = 50,
        model: str = "main",
        prompts: Sequence[str] = PROMPTS,
        timeout: float = 60.0,
        same_text: bool = True,
        think: float = 0.0,
    ) -> None:
        """Clients `think` for that many seconds after a good answer, or until the block ends.

        `same_text` False: an engine whose greedy text depends on its batch, as on GPUs, is not held to its text.
        """
        self._url = url
        self._kinds = [False] * unary + [True] * streams
        self._tokens = tokens
        self._model = model
        self._prompts = prompts
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._same_text = same_text
        self._think = think
        self._expected: dict[tuple[str, bool], str] = {}
        self._stop = asyncio.Event()
        self.answers: list[Answer] = []

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        try:
            await self._learn()
        except BaseException:
            await self._session.close()
            raise
        self._begun = time.monotonic()
        self._clients = [asyncio.create_task(self._client(*each)) for each in enumerate(self._kinds)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._clients)
        self._ended = time.monotonic()
        await self._session.close()

    def summary(self) -> dict[str, Any]:
        """Return the counts of answers by outcome, and the latencies of the good ones in milliseconds."""
        streams = [answer for answer in self.answers if answer.stream]
        good = [answer for answer in self.answers if answer.outcome == "ok"]
        return {
            "unary": len(self.answers) - len(streams),
            "streams": len(streams),
            "lost_unary": sum(not answer.stream for answer in self.bad),
            "unfinished_streams": sum(answer.stream and answer.outcome != "wrong text" for answer in self.bad),
            "wrong_texts": sum(answer.outcome == "wrong text" for answer in self.bad),
            "seen": dict(Counter(f"{answer.outcome}: {answer.detail}" for answer in self.bad)),
            "tokens_per_second": sum(answer.tokens for answer in good) / (self._ended - self._begun),
            "unary_ms": summary([answer.ended - answer.sent for answer in good if not answer.stream]),
            "ttft_ms": summary([answer.arrivals[0] - answer.sent for answer in good if answer.arrivals]),
            "itl_ms": summary([gap for answer in good if answer.stream for gap in answer.gaps]),
        }

    @property
    def bad(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.outcome != "ok"]

    async def _learn(self) -> None:
        """Get the undisturbed answer to each prompt, as text and as chat."""
        for chat in (False, True):
            answers = await asyncio.gather(*(self._ask(prompt, chat, stream=False) for prompt in self._prompts))
            for prompt, answer in zip(self._prompts, answers, strict=True):
                if answer.outcome != "ok":
                    raise RuntimeError(f"the first answer to {prompt!r}: {answer.outcome}, {answer.detail}")
                if self._same_text:
                    self._expected[prompt, chat] = answer.text

    async def _client(self, number: int, stream: bool) -> None:
        turn = number
        while not self._stop.is_set():
            prompt = self._prompts[turn % len(self._prompts)]
            turn += 1
            answer = await self._ask(prompt, chat=number % 2 == 1, stream=stream)
            self.answers.append(answer)
            await self._pause(self._think if answer.outcome == "ok" else PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait that long, or until the block ends."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)

    async def _ask(self, prompt: str, chat: bool, stream: bool) -> Answer:
        asked = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        limits = {"max_tokens": self._tokens, "temperature": 0, "ignore_eos": True}
        path = "/v1/chat/completions" if chat else "/v1/completions"
        answer = Answer(stream=stream, sent=time.monotonic())
        try:
            body = {"model": self._model, **asked, **limits, **options}
            async with self._session.post(self._url + path, json=body) as response:
                answer.engine = response.headers.get("x-engine", "")
                if response.status != 200:
                    answer.outcome = "refused" if response.status in (429, 503) else "failed"
                    answer.detail = f"{response.status} {(await response.text())[:200]}"
                elif stream:
                    await _read_stream(response, answer)
                else:
                    _read_event(answer, orjson.loads(await response.read()))
                    answer.outcome = "ok"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            answer.detail = f"{type(error).__name__} {error}"[:200]
            answer.outcome = "unfinished" if answer.arrivals else "failed"
        answer.ended = time.monotonic()
        self._judge(answer, self._expected.get((prompt, chat)))
        return answer

    def _judge(self, answer: Answer, expected: str | None) -> None:
        """Compare a complete answer with `expected`, the undisturbed one; None while that is not known."""
        if answer.outcome != "ok":
            return
        if answer.tokens != self._tokens:
            answer.outcome, answer.detail = "wrong usage", f"{answer.tokens} tokens where {self._tokens} were asked"
        elif expected is not None and answer.text != expected:
            answer.outcome, answer.detail = "wrong text", f"{answer.text!r} where {expected!r} was right"


async def _read_stream(response: aiohttp.ClientResponse, answer: Answer) -> None:
    decoder = sse.Decoder()
    async for chunk in response.content.iter_any():
        now = time.monotonic()
        for data in decoder.feed(chunk):
            if data == sse.DONE_DATA:
                answer.outcome = "unfinished" if answer.detail else "ok"
                continue
            event = orjson.loads(data)
            if "error" in event:
                answer.detail = f"error event {event['error']}"[:200]
            elif _read_event(answer, event):
                answer.arrivals.append(now)
    if answer.outcome != "ok":
        answer.outcome = "unfinished"
        answer.detail = answer.detail or "it ended without [DONE]"


def _read_event(answer: Answer, event: dict[str, Any]) -> bool:
    """Add an event's text and usage to the answer. Return whether it has text."""
    before = len(answer.text)
    for choice in event.get("choices", ()):
        message = choice.get("message") or choice.get("delta") or choice
        answer.text += message.get("content") or message.get("text") or ""
    if usage := event.get("usage"):
        answer.tokens = usage["completion_tokens"]
    return len(answer.text) > before
