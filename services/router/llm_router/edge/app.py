"""The applications of the public port and of the admin port."""

from __future__ import annotations

from aiohttp import web

from llm_proxy.edge.routes import Routes, add_routes


def application(routes: Routes, *, max_body_bytes: int) -> web.Application:
    app = web.Application(client_max_size=max_body_bytes)
    add_routes(app, routes)
    return app
