"""Intake: small bodies are read at once, large ones in a separate process.

JSON, templates and checks hold the interpreter lock: 8 MB of brackets hold it for ten seconds, in which no stream gets
a token, whichever thread reads the body. A second process has its own lock. It reads one body at a time.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

from llm_contract.errors import ApiError, ErrorKind
from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.errors import RequestError, RequestFailed
from llm_engine.request.check import RequestCheck
from llm_engine.server.reading.reader import Reader
from llm_engine.server.reading.requests import StructuredOutputsField

SMALL_BODY_BYTES = 8 * 1024
"""Largest body that is read at once. It takes a few milliseconds at most."""


class Intake:
    """The readers of bodies: one in this process, one in another. Call it in the event loop's thread only."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self._reader = reader
        self._process = ReaderProcess(reader, folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")

    async def read(self, method: str, raw: bytes) -> Any:
        """Return the result of Reader's method `method` for the body, or raise its error."""
        if len(raw) <= SMALL_BODY_BYTES:
            return getattr(self._reader, method)(raw)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._process.call, method, raw)

    def start(self) -> None:
        """Start the process now, so that the first large body does not have to wait for it."""
        self._thread.submit(self._process.start)

    def close(self) -> None:
        """End the process, even if it is reading."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.close()


class ReaderProcess:
    """A spawned process with a reader. It ends when this process closes its end of the pipe or dies."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        """Describe the reader that the process makes: like `reader`, with its own tokenizer from the model folder."""
        self._arguments = {
            "tokenizer": type(reader.tokenizer),
            "folder": folder,
            "check": reader.check,
            "model_name": reader.model_name,
            "trust_template": reader.trust_template,
        }
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lock = Lock()
        self._closed = False

    def start(self) -> Connection:
        """Return the pipe to the process. Start the process if it is not alive."""
        with self._lock:
            if self._closed:
                raise ApiError(ErrorKind.DRAINING, "the server is shutting down", retry_after=1)
            if self._pipe is None or self._process is None or not self._process.is_alive():
                context = multiprocessing.get_context("spawn")
                self._pipe, theirs = context.Pipe()
                self._process = context.Process(
                    target=run, args=(theirs,), kwargs=self._arguments, name="reader", daemon=True
                )
                self._process.start()
                theirs.close()
            return self._pipe

    def call(self, method: str, raw: bytes) -> Any:
        """Return the method's result, or raise its error. RequestFailed if the process dies while reading."""
        pipe = self.start()
        try:
            pipe.send_bytes(method.encode())
            pipe.send_bytes(raw)
            result = pipe.recv()
        except (EOFError, OSError):
            raise RequestFailed("the process that reads large bodies died while it read this one") from None
        if isinstance(result, _Refusal):
            raise ApiError(result.kind, result.message, param=result.param)
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.join()


class _Refusal:
    """An ApiError for the pipe: pickle cannot rebuild exceptions with keyword arguments."""

    def __init__(self, error: ApiError) -> None:
        self.kind, self.message, self.param = error.kind, error.message, error.param


def run(
    pipe: Connection,
    *,
    tokenizer: type[AnyTokenizer],
    folder: Path,
    check: RequestCheck,
    model_name: str,
    trust_template: bool,
) -> None:
    """Run the process: read bodies until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which then closes the pipe
    gc.disable()  # it would traverse millions of brackets again and again; reference counting frees them anyway
    reader = Reader(tokenizer(folder), check, model_name, trust_template)
    try:
        while True:
            method, raw = pipe.recv_bytes().decode(), pipe.recv_bytes()
            pipe.send(_read(reader, method, raw))
            gc.collect()
    except (EOFError, OSError):
        return


def _read(reader: Reader, method: str, raw: bytes) -> Any:
    try:
        result = getattr(reader, method)(raw)
    except ApiError as error:
        return _Refusal(error)
    except RequestError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a defect: it ends this request alone
        return RequestFailed(f"{type(error).__name__}: {error}")
    return result if isinstance(result, bytes) else (_without_texts(result[0]), *result[1:])


BULKY = (
    *("logit_bias", "stop", "stop_token_ids", "allowed_token_ids", "bad_words", "response_format"),
    *("chat_template", "chat_template_kwargs", "documents", "tools"),
)
"""Fields that are already turned into prompt tokens and sampling parameters, so the pipe need not carry them."""


def _without_texts(asked: Any) -> Any:
    update: dict[str, Any] = {name: None for name in BULKY if name in type(asked).model_fields}
    if "prompt" in type(asked).model_fields:
        update["prompt"] = ""
    else:
        update["messages"] = asked.messages[-1:]
    if asked.structured_outputs is not None:
        update["structured_outputs"] = StructuredOutputsField()
    slim = asked.model_copy(update=update)
    (slim.model_extra or {}).clear()
    return slim
