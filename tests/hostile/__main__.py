"""Drive an engine, and a gateway in front of it, with hostile requests.

    cd tests && python -m hostile --requests 20000

One fifth of the requests comes from schemathesis, the rest from the grammar of extremes. The exit status is 1 if there
was a fault. `--url URL --first 4711 --requests 1` repeats one request of the grammar on a server that runs already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from support import ENVIRONMENT, READY_TIMEOUT, any_port

from hostile import drive
from hostile.grammar import HostileRequest
from llm_lab import paths, service
from llm_lab.ports import HOST
from llm_lab.service import Running, Service

MODEL = paths.ROOT / "models" / "zoo" / "llama"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the grammar's first request")
    parser.add_argument("--url", help="a server that runs already; default: start an engine and a gateway")
    parser.add_argument("--json", type=Path, help="write the reports to this file")
    arguments = parser.parse_args()
    requests = mixed_requests(arguments.requests, arguments.seed, arguments.first)
    if arguments.url:
        reports = {arguments.url: asyncio.run(drive.drive(arguments.url, requests))}
    else:
        with stack() as urls:
            reports = {name: asyncio.run(drive.drive(url, requests)) for name, url in urls.items()}
    printed = json.dumps({name: report.to_json() for name, report in reports.items()}, indent=2)
    print(printed)
    if arguments.json:
        arguments.json.write_text(printed + "\n")
    return 1 if any(report.faults for report in reports.values()) else 0


def mixed_requests(count: int, seed: int, first: int) -> list[HostileRequest]:
    from hostile import schema  # schemathesis takes seconds to import

    generated = [] if first else schema.requests(count // 5, seed)
    return generated + drive.grammar_requests(count - len(generated), seed, first)


@contextmanager
def stack() -> Iterator[dict[str, str]]:
    """Start an engine and a gateway in front of it; yield their URLs."""
    with tempfile.TemporaryDirectory() as folder:
        engine, gateway = (f"http://{HOST}:{any_port()}" for _ in range(2))
        config = Path(folder) / "gateway.yaml"
        port = int(gateway.rsplit(":", 1)[1])
        config.write_text(
            yaml.safe_dump({"host": HOST, "port": port, "engines": [{"url": engine, "max_in_flight": 16}]})
        )
        serve = ("-m", "llm_engine", "serve", str(MODEL), "--served-model-name", "main", "--num-threads", "1")
        commands = {
            "engine": (engine, (*serve, "--host", HOST, "--port", engine.rsplit(":", 1)[1], *drive.ENGINE_FLAGS)),
            "gateway": (gateway, ("-m", "llm_gateway", "--config", str(config))),
        }
        started: list[Running] = []
        try:
            for name, (url, argv) in commands.items():
                service.start(Service(f"hostile-{name}", (sys.executable, *argv), url, env=ENVIRONMENT), started)
            service.wait_until_ready(started, READY_TIMEOUT)
            yield {name: url for name, (url, _) in commands.items()}
        finally:
            service.stop(reversed(started))


if __name__ == "__main__":
    sys.exit(main())
