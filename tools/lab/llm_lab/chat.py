"""`./lab chat`: talk with a model through the gateway; under each answer stand its time to first token and its speed.

The stack that `./lab up` left running is used if it serves the model; otherwise one engine and a gateway start, and
stop at the end. A model without a chat template, such as the shipped one, continues each text by itself.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from llm_contract import sse
from llm_lab import service, stack
from llm_lab.engines import EngineKind
from llm_lab.errors import LabError
from llm_lab.models import Model
from llm_lab.service import Running

TIMEOUT = 300.0
HELP = "Ctrl-D ends, Ctrl-C stops an answer, /reset forgets the conversation."


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One answer's times, as the client saw them."""

    ttft: float
    """Seconds from sending the request to the first text."""
    decode_seconds: float
    """From the first text to the last."""
    output_tokens: int
    """As the server counts them."""

    def __str__(self) -> str:
        rate = (self.output_tokens - 1) / self.decode_seconds if self.decode_seconds else 0.0
        speed = f", {rate:.0f} tokens/s" if rate else ""
        return f"TTFT {self.ttft * 1000:.0f} ms{speed}, {self.output_tokens} tokens"


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The messages so far, and where to send them."""

    url: str
    model: Model
    system: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of every request, such as `temperature`."""
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str, show: Callable[[str], None]) -> Speed:
        """Send `text`, pass the answer to `show` as it comes, remember both, and return the times.

        Raise LabError if the server refuses or breaks off. What was shown by then is remembered; a text without an
        answer is forgotten.
        """
        self.messages.append({"role": "user", "content": text})
        begun = time.perf_counter()
        arrivals: list[float] = []
        tokens = 0
        answer = ""
        try:
            for piece, usage in self._events():
                tokens = usage or tokens
                if piece:
                    arrivals.append(time.perf_counter())
                    answer += piece
                    show(piece)
        finally:
            if answer:
                self.messages.append({"role": "assistant", "content": answer})
            else:
                self.messages.pop()
        if not arrivals:
            return Speed(ttft=time.perf_counter() - begun, decode_seconds=0.0, output_tokens=tokens)
        return Speed(ttft=arrivals[0] - begun, decode_seconds=arrivals[-1] - arrivals[0], output_tokens=tokens)

    def reset(self) -> None:
        self.messages.clear()

    def _events(self) -> Iterator[tuple[str, int]]:
        """Yield pieces of text, each with the count of tokens if the event carries it, else 0."""
        request = urllib.request.Request(self.url + self._path(), self._body(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                decoder = sse.Decoder()
                while chunk := response.read1():
                    for data in decoder.feed(chunk):
                        if data == sse.DONE_DATA:
                            return
                        yield _piece(data)
        except urllib.error.HTTPError as error:
            raise LabError(f"the server answered {error.code}: {_message(error.read())}") from None
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"no answer from {self.url}: {error}") from None
        raise LabError("the answer broke off")

    def _path(self) -> str:
        return "/v1/chat/completions" if self.model.chats else "/v1/completions"

    def _body(self) -> bytes:
        body = {"model": self.model.name, "stream": True, "stream_options": {"include_usage": True}, **self.options}
        if self.model.chats:
            system = [{"role": "system", "content": self.system}] if self.system else []
            return json.dumps({**body, "messages": [*system, *self.messages]}).encode()
        return json.dumps({**body, "prompt": self.messages[-1]["content"]}).encode()


def chat(conversation: Conversation, console: Console, say: str | None = None) -> None:
    """Answer `say`, or what is typed until the end of the input."""
    if say is not None:
        _answer(conversation, say, console)
        return
    console.print(f"[bold]{conversation.model.name}[/] at {conversation.url}. {HELP}")
    while True:
        try:
            text = input("\n> ").strip()
        except EOFError:
            console.print()
            return
        if text == "/reset":
            conversation.reset()
        elif text:
            try:
                _answer(conversation, text, console)
            except LabError as error:
                console.print(f"\n[red]{error}[/]", highlight=False)


def serve(kind: EngineKind, model: Model, started: list[Running], console: Console) -> str:
    """Return the URL of a gateway that serves `model`: the running stack's, or one that is started for it."""
    for running in stack.load():
        if running.name == "gateway" and running.is_ready() and model.name in _served(running.url):
            return running.url
    with console.status(f"Starting {kind} on {model.name} and the gateway …"):
        engines = stack.start_engines(kind, started, model=model, replicas=1)
        gateway = stack.start_gateway(engines, "priority", started)
        service.wait_until_ready(started)
    return gateway.url


def _answer(conversation: Conversation, text: str, console: Console) -> None:
    def show(piece: str) -> None:
        console.out(piece, end="", highlight=False)

    try:
        speed = conversation.ask(text, show)
    except KeyboardInterrupt:
        console.print("\n[dim]stopped[/]")
        return
    console.print(f"\n[dim]{speed}[/]")


def _served(url: str) -> set[str]:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=5.0) as response:
        return {entry["id"] for entry in json.load(response)["data"]}


def _piece(data: bytes) -> tuple[str, int]:
    event = json.loads(data)
    if "error" in event:
        raise LabError(f"the answer broke off: {_message(data)}")
    choices = event.get("choices") or [{}]
    text = choices[0].get("text") or choices[0].get("delta", {}).get("content") or ""
    return text, (event.get("usage") or {}).get("completion_tokens", 0)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:200]
