"""A server with bad days, as a process of its own: the class of a request says what becomes of it. It prints its URL.

    stall          a token at 0.25 s, then after 0.05, 0.05, 0.60 and 0.05 s
    slow-headers   headers only after 0.20 s, the first token at 0.25 s, then 0.10 s apart
    reset          tokens at 0.25, 0.35 and 0.45 s, then the connection is reset
    clock-ahead    a server whose clock is a day ahead, in its Date and in every event; at 0.25 s, then 0.40, 0.10, …

Moments are counted from the request, each by itself, so that no lateness adds up.
"""

from __future__ import annotations

import asyncio
import email.utils
import socket
import struct
import time
from dataclasses import dataclass
from itertools import accumulate, chain, cycle, islice

import orjson
import uvloop

DAY = 86_400.0


@dataclass(frozen=True)
class Day:
    gaps: tuple[float, ...]
    """Between tokens, cycled."""
    ttft: float = 0.25
    headers: float = 0.0
    ahead: float = 0.0
    dies_after: int | None = None
    """Tokens."""

    def moments(self, tokens: int) -> list[float]:
        """Return the time of each token, in seconds from the request."""
        return list(islice(accumulate(chain((self.ttft,), cycle(self.gaps))), tokens))


DAYS = {
    "stall": Day(gaps=(0.05, 0.05, 0.6, 0.05)),
    "slow-headers": Day(gaps=(0.1,), headers=0.2),
    "reset": Day(gaps=(0.1,), dies_after=3),
    "clock-ahead": Day(gaps=(0.4, 0.1), ahead=DAY),
}
MODELS = b'{"data":[{"id":"m"}]}'


def event(payload: bytes) -> bytes:
    data = b"data: " + payload + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(number: int, tokens: int, created: float) -> bytes:
    choice = {"index": 0, "text": "w ", "finish_reason": "length" if number == tokens else None}
    usage = {"prompt_tokens": 5, "completion_tokens": number, "total_tokens": 5 + number}
    return event(orjson.dumps({"id": "0", "created": int(created), "choices": [choice], "usage": usage}))


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await answer(head, reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    if head.startswith(b"GET"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(MODELS) + MODELS)
        return
    body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
    start = asyncio.get_running_loop().time()
    await stream(DAYS[headers["x-priority"]], body["max_tokens"], start, writer)


async def stream(day: Day, tokens: int, start: float, writer: asyncio.StreamWriter) -> None:
    await until(start + day.headers)
    date = email.utils.formatdate(time.time() + day.ahead, usegmt=True)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ndate: %b\r\n" % date.encode())
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    for number, moment in enumerate(day.moments(tokens), start=1):
        await until(start + moment)
        writer.write(token(number, tokens, time.time() + day.ahead))
        if number == day.dies_after:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await until(start + moment + 0.1)
            writer.transport.abort()
            raise ConnectionResetError
    writer.write(event(b"[DONE]") + b"0\r\n\r\n")


async def until(moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


async def serve() -> None:
    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
