"""Clients that send completions through the gateway while a check or a drill disturbs it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from llm_deploy.running.http import ask

TOKENS = 16
PAUSE = 0.1
"""Seconds after an answer that was no success, as clients back off."""


@dataclass
class Seen:
    """Answers by status and class. Status 0 is a broken or refused connection."""

    statuses: Counter[int] = field(default_factory=Counter)
    by_class: Counter[tuple[str, int]] = field(default_factory=Counter)
    bodies: dict[int, str] = field(default_factory=dict)
    """An example of each status's text."""
    seconds: list[float] = field(default_factory=list)
    """Durations of the successes."""

    def text(self) -> str:
        return ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(self.statuses.items()))


@contextmanager
def clients(url: str, key: str, count: int, *, classes: Mapping[str, float] | None = None) -> Iterator[Seen]:
    """Run closed-loop clients during the block; `classes` maps priority classes to their weights."""
    seen, ended, lock = Seen(), threading.Event(), threading.Lock()
    names, weights = zip(*(classes or {"standard": 1.0}).items(), strict=True)

    def send(number: int) -> None:
        draw = random.Random(number)
        while not ended.is_set():
            chosen = draw.choices(names, weights)[0]
            prompt = f"def function_{draw.randrange(1000)}(argument):"
            body = {"model": "main", "prompt": prompt, "max_tokens": TOKENS, "ignore_eos": True}
            began = time.monotonic()
            answer = ask(f"{url}/v1/completions", key=key, body=body, headers={"x-priority": chosen}, timeout=60)
            with lock:
                seen.statuses[answer.status] += 1
                seen.by_class[chosen, answer.status] += 1
                seen.bodies.setdefault(answer.status, answer.text[:200])
                if answer.status == 200:
                    seen.seconds.append(time.monotonic() - began)
            if answer.status != 200:
                ended.wait(PAUSE)

    threads = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()
