"""The client against a server that is a list of bytes: what arrives when, and how each kind of ending is recognised."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import gevent
import pytest

from llm_bench.client.client import Client
from llm_bench.client.connection import READ_SIZE, Connection
from llm_bench.client.exchange import Exchange
from llm_bench.client.target import Target

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
PATIENCE = 20.0
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9v1h7BBb/kG0Gzxw
A2ys4n2eLjUQ3z1Wo3WfTgCpioKhRANCAAQd1BqK1XO2UB4W7c0GVDxs0Vz/MRET
ExTiMstoeO9yZznggWqYWIUrAo4VgTwOZCytG31ugky80s3KTHEOOCIj
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUYtKRsgjKFDucQxJlXLGf6D5nrNowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTE5MjMwM1oYDzIxMjYxMTAx
MTkyMzAzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQd1BqK1XO2UB4W7c0GVDxs0Vz/MRETExTiMstoeO9yZznggWqYWIUr
Ao4VgTwOZCytG31ugky80s3KTHEOOCIjo28wbTAdBgNVHQ4EFgQUCVKDDay7sm8N
bJQo+dJWldCDXx8wHwYDVR0jBBgwFoAUCVKDDay7sm8NbJQo+dJWldCDXx8wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAJ5VylsSoRrvKCy8dL8bLDYuV8V1sm0rZgGB29F7jyNMAiBI
a8G521XQF1JGv8ItccaWuagk0gUeibbR1FFaVW3kcA==
-----END CERTIFICATE-----
"""
"""A self-signed certificate for localhost, valid for a hundred years, and its key."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class ListServer:
    """Answers each request, of any connection, with the next of `answers`: pieces that are each sent when `go` says so,
    then the end of the connection if the answer says so."""

    def __init__(self, answers: list[list[bytes]], close: bool, context: ssl.SSLContext | None) -> None:
        self.answers, self.close_after, self._context = list(answers), close, context
        self.go = threading.Semaphore(0)
        self.accepted = 0
        self.received = 0
        """Bytes."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                stream = self._context.wrap_socket(connection, server_side=True) if self._context else connection
                while self._read(stream):
                    for piece in self.answers.pop(0):
                        self.go.acquire(timeout=PATIENCE)
                        stream.sendall(piece)
                    if self.close_after:
                        return
            except OSError:
                pass  # the client went away

    def _read(self, stream: socket.socket) -> bool:
        """One request; False at the end."""
        data, missing = b"", 1
        while missing > 0:
            more = stream.recv(1 << 20)
            if not more:
                return False
            self.received += len(more)
            missing -= len(more)
            if b"\r\n\r\n" not in data:
                data += more
                head, end, body = data.partition(b"\r\n\r\n")
                missing = length(head + end) - len(body) if end else 1
        return True


def length(request: bytes) -> int:
    return int(request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


@contextmanager
def serving(
    *answers: list[bytes], close: bool = False, held: bool = False, context: ssl.SSLContext | None = None
) -> Iterator[ListServer]:
    """`held`: pieces wait for `go`."""
    server = ListServer(list(answers), close, context)
    if not held:
        server.go.release(1000)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(PATIENCE)


@contextmanager
def client_of(server: ListServer, timeout: float = PATIENCE, host: str = "127.0.0.1") -> Iterator[Client]:
    tls = server._context is not None
    client = Client(Target(f"http://{host}:{server.port}", host, server.port, tls, "", "m"), timeout)
    yield client
    client.close()


def until(happened: Callable[[], bool]) -> None:
    with gevent.Timeout(PATIENCE):
        while not happened():
            gevent.sleep(0.001)


def body(exchange: Exchange) -> bytes:
    return b"".join(data for _, data in exchange.chunks)


def test_an_answer_is_read_to_its_end_and_the_connection_carries_the_next() -> None:
    answer = [CHUNKED + chunk(b"data: 1\n\n"), END]
    with serving(answer, answer) as server, client_of(server) as client:
        first, second = client.send(REQUEST), client.send(REQUEST)

    for exchange in (first, second):
        assert (exchange.failure, exchange.status, exchange.content_type) == (None, 200, "text/event-stream")
        assert body(exchange) == b"data: 1\n\ndata: [DONE]\n\n"
        assert exchange.headers_at is not None
        assert exchange.sent_at <= exchange.headers_at <= exchange.chunks[0][0] <= exchange.ended_at
    assert server.accepted == 1


def test_every_read_has_the_time_of_its_arrival() -> None:
    """Each piece goes out only after the one before has arrived."""
    pieces = [CHUNKED, *(chunk(b"data: %d\n\n" % number) for number in range(3)), END]
    with serving(pieces, held=True) as server:
        connection = Connection(_connect(server))
        exchange, marks = Exchange(sent_at=perf_counter()), []
        sender = gevent.spawn(connection.converse, REQUEST, exchange, PATIENCE)
        for arrived in (
            lambda: exchange.headers_at is not None,
            *(_arrived(exchange, count) for count in (1, 2, 3, 4)),
        ):
            marks.append(perf_counter())
            server.go.release()
            until(arrived)
        sender.join(PATIENCE)
        connection.close()

    assert exchange.headers_at is not None
    times = [exchange.headers_at, *(at for at, _ in exchange.chunks)]
    assert all(
        before < at < after for before, at, after in zip(marks, times, [*marks[1:], perf_counter()], strict=True)
    )
    assert (exchange.failure, connection.open) == (None, False)


def _arrived(exchange: Exchange, count: int) -> Callable[[], bool]:
    return lambda: len(exchange.chunks) == count


def _connect(server: ListServer) -> gevent.socket.socket:
    return gevent.socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.parametrize(
    ("pieces", "close", "failure", "detail", "read"),
    [
        ([HEAD + b"Content-Length: 3\r\n\r\nabc"], False, None, "", b"abc"),
        ([HEAD + b"\r\nab", b"c"], True, None, "", b"abc"),  # no length: it ends with the connection
        ([b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED + chunk(b"abc") + b"0\r\n\r\n"], False, None, "", b"abc"),
        ([CHUNKED + chunk(b"10\r\n\r\n0\r\n\r\n"), b"0\r\n\r\n"], False, None, "", b"10\r\n\r\n0\r\n\r\n"),
        ([CHUNKED + b"3\r", b"\nab", b"c\r\n0", b"\r\n\r\n"], False, None, "", b"abc"),
        ([], True, "reset", "connection closed before the headers", b""),
        ([HEAD], True, "reset", "connection closed before the headers", b""),
        ([CHUNKED + chunk(b"abc")], True, "reset", "connection closed before the end of the answer", b"abc"),
        ([HEAD + b"Content-Length: 9\r\n\r\nabc"], True, "reset", "connection closed before the end", b"abc"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], False, "protocol", "", b""),
        ([CHUNKED + b"xyz\r\n"], False, "reset", "", b""),
        ([b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nabc"], False, "protocol", "", b""),
        ([HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc"], False, "protocol", "", b""),
        ([b"HTTP/1.1 999999 OK\r\n\r\n"], False, "protocol", "", b""),
        ([HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"], False, "protocol", "", b""),
    ],
)
def test_every_end_is_told(pieces: list[bytes], close: bool, failure: str | None, detail: str, read: bytes) -> None:
    with serving(pieces, close=close) as server, client_of(server) as client:
        exchange = client.send(REQUEST)

    assert exchange.failure == failure
    assert detail in exchange.detail
    assert body(exchange) == read


def test_after_what_nobody_asked_for_a_connection_is_not_used_again() -> None:
    good = [CHUNKED + chunk(b"abc") + b"0\r\n\r\n"]
    with serving([good[0] + b"and more"], good) as server, client_of(server) as client:
        first, second = client.send(REQUEST), client.send(REQUEST)

    assert (first.failure, body(first), second.failure) == (None, b"abc", None)
    assert server.accepted == 2


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    answer = [CHUNKED + chunk(b"abc") + b"0\r\n\r\n"]
    with serving(answer, answer, close=True) as server, client_of(server) as client:
        client.send(REQUEST)
        until(lambda: not client._idle or not client._idle[-1].open)
        second = client.send(REQUEST)

    assert (second.failure, server.accepted) == (None, 2)


def test_a_server_that_says_close_is_believed() -> None:
    answer = [HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"]
    with serving(answer, answer) as server, client_of(server) as client:
        assert [client.send(REQUEST).failure for _ in range(2)] == [None, None]

    assert server.accepted == 2


def test_silence_ends_in_a_timeout_and_keeps_what_came() -> None:
    with serving([CHUNKED + chunk(b"abc"), END], held=True) as server, client_of(server, timeout=0.3) as client:
        server.go.release()
        exchange = client.send(REQUEST)

    assert (exchange.failure, exchange.detail, body(exchange)) == ("timeout", "nothing arrived for 0.3 s", b"abc")
    assert exchange.ended_at - exchange.chunks[-1][0] == pytest.approx(0.3, abs=0.15)


def test_nobody_there_is_a_failure_to_connect() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = unused.getsockname()[1]
        client = Client(Target("u", "127.0.0.1", port, False, "", "m"), 1.0)
        exchange = client.send(REQUEST)
        client.close()

    assert exchange.failure == "connect"
    assert "refused" in exchange.detail


def test_a_request_that_is_killed_says_so() -> None:
    with serving([CHUNKED, END], held=True) as server, client_of(server) as client:
        sender = gevent.spawn(client.send, REQUEST)
        until(lambda: server.accepted == 1)
        sender.kill()

    assert sender.value.failure == "incomplete"


def test_any_number_go_at_once() -> None:
    answers = [[CHUNKED + chunk(b"abc"), END]] * 20
    with serving(*answers, held=True) as server, client_of(server) as client:
        senders = [gevent.spawn(client.send, REQUEST) for _ in range(20)]
        until(lambda: server.accepted == 20)
        server.go.release(40)
        gevent.joinall(senders, timeout=PATIENCE)

    assert [sender.value.failure for sender in senders] == [None] * 20


def test_a_long_request_waits_for_room_and_hears_the_answer() -> None:
    text = b"x" * 20_000_000
    request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(text) + text
    with serving([CHUNKED + chunk(b"abc") + b"0\r\n\r\n"]) as server, client_of(server) as client:
        exchange = client.send(request)

    assert (exchange.failure, body(exchange), server.received) == (None, b"abc", len(request))


def test_tls_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = server_context(write_certificate(tmp_path))
    with serving([END], context=context) as server, client_of(server) as client:
        exchange = client.send(REQUEST)

    assert exchange.failure == "connect"
    assert "CERTIFICATE_VERIFY_FAILED" in exchange.detail


def test_tls_carries_answers_whose_records_are_longer_than_a_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    long = b"x" * (READ_SIZE + 5000)  # one record: what is beyond the first read is in no socket any more
    answers = [[CHUNKED + chunk(long)[:-1], b"\n" + b"0\r\n\r\n"], [CHUNKED + chunk(b"abc"), END]]
    with (
        serving(*answers, context=server_context(certificate)) as server,
        client_of(server, host="localhost") as client,
    ):
        first, second = client.send(REQUEST), client.send(REQUEST)

    assert (first.failure, body(first)) == (None, long)
    assert (second.failure, body(second)) == (None, b"abcdata: [DONE]\n\n")
    assert server.accepted == 1


def write_certificate(folder: Path) -> Path:
    path = folder / "localhost.pem"
    path.write_text(CERTIFICATE)
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
