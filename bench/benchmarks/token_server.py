"""A server that costs next to nothing: streams of canned tokens, so that what is measured is the client.

    python bench/benchmarks/token_server.py --ttft 0.02 --gap 0.004 --tokens 16

It prints its URL. Every POST is answered by `--tokens` chunks of one token, the first `--ttft` seconds after the
request, the others `--gap` seconds apart, each in a write of its own, with the usage so far in every chunk if the
request asks for it. A GET is answered by the list of models.

One process, no framework: an epoll loop over bare sockets, chunks encoded beforehand, and one timer for all streams, a
wheel with a slot for every millisecond. What a token costs is a system call. All times are seconds.
"""

from __future__ import annotations

import argparse
import select
import socket
import time
from collections import deque
from dataclasses import dataclass

TICK = 0.001
"""Seconds: tokens are sent at whole ticks."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"
MODELS_BODY = b'{"object":"list","data":[{"id":"main","object":"model","max_model_len":1000000}]}'
MODELS = HEAD % (b"application/json", b"content-length: %d" % len(MODELS_BODY)) + MODELS_BODY
STREAM_HEAD = HEAD % (b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked")
USAGE = b'{"prompt_tokens":16,"completion_tokens":%d,"total_tokens":%d}'
LAST = b"0\r\n\r\n"


@dataclass(slots=True, eq=False)
class Connection:
    """Requests are taken to come one after the other."""

    socket: socket.socket
    received: bytes = b""


@dataclass(frozen=True, slots=True)
class Timing:
    ttft: float
    gap: float

    def __post_init__(self) -> None:
        if min(self.ttft, self.gap) < TICK:
            raise ValueError(f"ttft and gap are at least one tick of {TICK:g} s")

    def ticks(self, token: int) -> int:
        """Return the ticks since the previous token, or since the request."""
        return round((self.gap if token else self.ttft) / TICK)


def encode_stream(tokens: int, *, chat: bool, counted: bool) -> list[bytes]:
    """Return one answer's writes, one per token; the first brings the headers, the last the end of the stream."""
    writes = [_chunk(_event(number, tokens, chat, counted)) for number in range(1, tokens + 1)]
    writes[0] = STREAM_HEAD + writes[0]
    usage = USAGE % (tokens, 16 + tokens)
    summary = (
        b'data: {"id":"0","object":"text_completion","created":0,"model":"main","choices":[],"usage":%b}\n\n' % usage
    )
    writes[-1] += _chunk(summary) + _chunk(b"data: [DONE]\n\n") + LAST
    return writes


def _event(number: int, tokens: int, chat: bool, counted: bool) -> bytes:
    kind, text = (
        (b"chat.completion.chunk", b'"delta":{"content":"w "}') if chat else (b"text_completion", b'"text":"w "')
    )
    reason = b'"length"' if number == tokens else b"null"
    usage = b',"usage":' + USAGE % (number, 16 + number) if counted else b""
    return (
        b'data: {"id":"0","object":"%b","created":0,"model":"main","choices":[{"index":0,%b,"finish_reason":%b}]%b}\n\n'
    ) % (kind, text, reason, usage)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class TokenServer:
    def __init__(self, timing: Timing, tokens: int) -> None:
        self._timing = timing
        self._streams = {
            (chat, counted): encode_stream(tokens, chat=chat, counted=counted)
            for chat in (False, True)
            for counted in (False, True)
        }
        self._wheel: list[deque[tuple[Connection, list[bytes], int]]] = [
            deque() for _ in range(max(timing.ticks(0), timing.ticks(1)) + 2)
        ]
        self._tick = 0
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        start = time.monotonic()
        while True:
            now = time.monotonic() - start
            while self._tick * TICK <= now:
                self._send_due()
                self._tick += 1
            wait = self._tick * TICK - (time.monotonic() - start)
            for descriptor, _ in self._epoll.poll(max(wait, 0.0)):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(self._connections[descriptor])

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[accepted.fileno()] = Connection(accepted)
            self._epoll.register(accepted.fileno(), select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        head, separator, body = connection.received.partition(b"\r\n\r\n")
        if separator and len(body) >= _content_length(head):
            connection.received = b""
            self._answer(connection, head, body)

    def _answer(self, connection: Connection, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._write(connection, MODELS)
            return
        stream = self._streams[b"/chat/" in head[:40], b'"continuous_usage_stats":true' in body.replace(b" ", b"")]
        self._schedule(connection, stream, 0)

    def _schedule(self, connection: Connection, stream: list[bytes], token: int) -> None:
        slot = (self._tick + self._timing.ticks(token)) % len(self._wheel)
        self._wheel[slot].append((connection, stream, token))

    def _send_due(self) -> None:
        due = self._wheel[self._tick % len(self._wheel)]
        while due:
            connection, stream, token = due.popleft()
            if self._write(connection, stream[token]) and token + 1 < len(stream):
                self._schedule(connection, stream, token + 1)

    def _write(self, connection: Connection, data: bytes) -> bool:
        """Return whether it was sent; disconnect a reader that falls a few kilobytes behind."""
        try:
            if connection.socket.send(data) == len(data):
                return True
        except OSError:
            pass
        self._close(connection)
        return False

    def _close(self, connection: Connection) -> None:
        if connection.socket.fileno() >= 0:
            self._epoll.unregister(connection.socket.fileno())
            del self._connections[connection.socket.fileno()]
            connection.socket.close()


def _content_length(head: bytes) -> int:
    start = head.lower().find(b"content-length:")
    return int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttft", type=float, default=0.02, help="seconds from the request to the first token")
    parser.add_argument("--gap", type=float, default=0.004, help="seconds between tokens")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer, one a chunk")
    arguments = parser.parse_args()
    server = TokenServer(Timing(arguments.ttft, arguments.gap), arguments.tokens)
    print(server.url, flush=True)
    server.run()


if __name__ == "__main__":
    main()
