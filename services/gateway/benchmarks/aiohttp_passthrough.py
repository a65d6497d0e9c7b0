"""The minimal proxy in aiohttp: read the body, forward it, return the answer. It is a lower bound, not a gateway.

python services/gateway/benchmarks/aiohttp_passthrough.py ENGINE_URL
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL


async def _serve(engine: str) -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    base = URL(engine)

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"content-type": "application/json"}
        async with session.post(base.with_path(request.path), data=body, headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
