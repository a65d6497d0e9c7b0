"""`llm-gateway`: settings, logging, event loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import uvloop
from prometheus_client import disable_created_metrics

from llm_contract import logs
from llm_contract.settings import config_paths, load, read
from llm_gateway.server import serve
from llm_gateway.settings import GatewaySettings
from llm_gateway.simulate import cli as simulate
from llm_gateway.tenancy import keys

PROG = "llm-gateway"


def main(argv: Sequence[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == "key":
        return keys.main(argv[1:])
    if argv and argv[0] == "simulate":
        return simulate.main(argv[1:])
    settings = load(GatewaySettings, prog=PROG, argv=argv)
    logs.configure(PROG, settings.log_format)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        uvloop.run(serve(settings, config_paths(PROG, argv), lambda: read(GatewaySettings, prog=PROG, argv=argv)))
    except OSError as error:
        sys.exit(f"llm-gateway: cannot listen on {settings.host}:{settings.port}: {error.strerror or error}")
