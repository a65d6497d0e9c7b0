"""How to ask both servers the same thing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from llm_contract import sse


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    """The JSON of the response; of a stream, of each event."""


@dataclass(frozen=True)
class Both:
    vllm: str
    ours: str

    def ask(self, path: str, body: dict[str, Any]) -> tuple[Answer, Answer]:
        """Return (vLLM's answer, ours)."""
        return _post(self.vllm + path, body), _post(self.ours + path, body)

    def metrics(self) -> tuple[str, str]:
        texts = []
        for url in (self.vllm, self.ours):
            with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
                texts.append(response.read().decode())
        return texts[0], texts[1]


def _post(url: str, body: dict[str, Any]) -> Answer:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            status, raw = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, raw = error.code, error.read()
    if not body.get("stream") or status != 200:
        return Answer(status, json.loads(raw))
    *events, last = sse.Decoder().feed(raw)
    assert last == sse.DONE_DATA
    return Answer(status, [json.loads(event) for event in events])
