"""The data plane that Ray Serve's documentation shows: its proxy, a FastAPI ingress, a handle, two replicas.

    python services/router/benchmarks/serve_default.py --gaps 0.02

It prints its URL. Each replica answers like a scripted engine of the same arguments, in its own process and without
another HTTP hop, so the figure is Serve's own cost.
"""

# FastAPI reads the annotations of a pickled class, which has no module to look strings up in.
import argparse
import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import ray
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from llm_contract import sse
from llm_contract.testing import Script
from llm_contract.testing.job import parse
from llm_measure.processes import free_port

ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
PATH = "/v1/chat/completions"
REPLICAS = 2
app = FastAPI()


@serve.deployment(num_replicas=REPLICAS, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
class Engine:
    """A scripted engine without its HTTP server."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def answer(self, raw: bytes) -> bytes:
        _, job = parse(PATH, raw, self._script)
        await asyncio.sleep(self._script.duration(job.max_tokens))
        return orjson.dumps(job.whole())

    async def stream(self, raw: bytes) -> AsyncIterator[bytes]:
        _, job = parse(PATH, raw, self._script)
        start = time.monotonic()
        for due, piece, _ in self._script.chunks(job.max_tokens, job.first):
            await asyncio.sleep(max(0.0, start + due - time.monotonic()))
            yield sse.encode(job.event(job.choice(piece, None)))
        yield sse.DONE


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Ingress:
    """The HTTP side. It asks an engine through a handle."""

    def __init__(self, engine: DeploymentHandle[Any]) -> None:
        self._engine = engine

    @app.post(PATH)
    async def chat(self, request: Request) -> Response:
        raw = await request.body()
        if b'"stream":true' in raw:
            chunks: Any = self._engine.options(stream=True).stream.remote(raw)
            return StreamingResponse(chunks, media_type="text/event-stream")
        return Response(await self._engine.answer.remote(raw), media_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaps", type=float, default=0.0, help="seconds between two tokens")
    arguments = parser.parse_args()
    os.environ |= ENVIRONMENT
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    script = Script(model="main", gaps=(arguments.gaps,))
    serve.run(Ingress.bind(Engine.bind(script)))  # type: ignore[attr-defined]
    print(f"http://127.0.0.1:{port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
