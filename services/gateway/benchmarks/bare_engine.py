"""An engine that costs almost nothing: canned answers over a bare asyncio protocol, so that only the proxy is measured.

    python services/gateway/benchmarks/bare_engine.py --tokens 250 --token-rate 50

It prints its URL. Every POST gets one chat completion. If its body contains `"stream":true`, it gets `--tokens` events
at `--token-rate` per second, each stream with its own phase. Each event states when it was sent (`created`, in seconds
of the monotonic clock, which all processes of a machine share), so a reader can compute its delay.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import cast

import uvloop

ANSWER_BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"main","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"w0 w1 w2 w3 w4 w5 w6 w7 "},"finish_reason":"length"}],'
    b'"usage":{"prompt_tokens":16,"completion_tokens":8,"total_tokens":24}}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"
ANSWER = HEAD % (b"application/json", b"content-length: %d" % len(ANSWER_BODY)) + ANSWER_BODY
STREAM_HEAD = HEAD % (b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked")
EVENT = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":%.6f,"model":"main","choices":[{"index":0,'
    b'"delta":{"content":"w "},"finish_reason":null}]}\n\n'
)
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"


class BareEngine(asyncio.Protocol):
    """One connection. It expects one request after the other, each with a Content-Length or without a body."""

    def __init__(self, tokens: int, token_rate: float) -> None:
        self._tokens = tokens
        self._gap = 1.0 / token_rate
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or len(self._buffer) < head_end + 4 + _content_length(self._buffer, head_end):
            return
        request, self._buffer = self._buffer, b""
        if b'"stream":true' in request:
            self._transport.write(STREAM_HEAD)
            loop = asyncio.get_running_loop()
            self._due = loop.time() + self._gap
            loop.call_at(self._due, self._send_token, 1)
        else:
            self._transport.write(ANSWER)

    def _send_token(self, number: int) -> None:
        if self._transport.is_closing():
            return
        event = EVENT % time.monotonic()
        if number == self._tokens:
            self._transport.write(_chunk(event) + _chunk(DONE) + LAST_CHUNK)
            return
        self._transport.write(_chunk(event))
        self._due += self._gap
        asyncio.get_running_loop().call_at(self._due, self._send_token, number + 1)


def _content_length(request: bytes, head_end: int) -> int:
    start = request[:head_end].lower().find(b"content-length:")
    return int(request[start + 15 : request.find(b"\r\n", start)]) if start >= 0 else 0


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(tokens: int, token_rate: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: BareEngine(tokens, token_rate), "127.0.0.1", 0, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--token-rate", type=float, default=50.0)
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.tokens, arguments.token_rate))


if __name__ == "__main__":
    main()
