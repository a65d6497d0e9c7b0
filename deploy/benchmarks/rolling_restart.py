"""Restart each service on the real cluster under load, several times: no request may fail and no stream be cut.

    eval "$(./lab cluster up)"
    python deploy/benchmarks/rolling_restart.py --tokens 1900           # writes deploy/results/rolling_restart.json
    python deploy/benchmarks/rolling_restart.py --times 1 --add         # one more round
    python deploy/benchmarks/rolling_restart.py --table                 # prints the results

The load is 20 requests a second and 20 clients that read one stream of the shipped model after the other, at the
gateway's NodePort. Streams should last about 30 s: choose --tokens by the machine, at most 1,900. The last round is the
negative control: the same manifests without preStop and the gateway's `lame_duck`, where requests must fail. With --add
there is none, except with --times 0. Exit status 1 if a round does not come out as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from llm_deploy.kubernetes import trial
from llm_deploy.kubernetes.load import RATE, STREAMS, Load
from llm_deploy.paths import DEPLOY, STATE
from llm_report import markdown

RESULT = DEPLOY / "results" / "rolling_restart.json"
SETTLE_SECONDS = 5.0
"""Load before the first restart, so that every stream has begun, and after the last one."""
CONTROLLED = ("deployment/router", "deployment/gateway")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1900, help="tokens of a stream")
    parser.add_argument("--services", nargs="+", default=list(trial.WORKLOADS), metavar="KIND/NAME")
    parser.add_argument("--add", action="store_true", help="keep the rounds that the results file has")
    parser.add_argument("--table", action="store_true", help="print the results file as a table, and run nothing")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.out.read_text())))
        return 0
    secrets = STATE / "secrets"
    items = trial.manifests()
    key = trial.deploy(secrets, items)
    result: dict[str, Any] = {
        "measured": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "load": f"{RATE:g} requests/s and {STREAMS} streams of {arguments.tokens} tokens",
        "rounds": json.loads(arguments.out.read_text())["rounds"] if arguments.add else [],
    }
    for _ in range(arguments.times):
        result["rounds"].append(asyncio.run(under_load(key, arguments.tokens, arguments.services)))
        print(f"round {len(result['rounds'])}: {json.dumps(result['rounds'][-1])}", flush=True)
        save(arguments.out, result)
    lost = sum(one["failed"] + one["cut"] for one in result["rounds"])
    if arguments.add and arguments.times:
        return 1 if lost else 0
    trial.deploy(secrets, trial.abrupt(items))
    control = asyncio.run(under_load(key, arguments.tokens, CONTROLLED))
    print(f"abrupt: {json.dumps(control)}", flush=True)
    save(arguments.out, {**result, "abrupt": control})
    return 1 if lost or not control["failed"] + control["cut"] else 0


def table(result: dict[str, Any]) -> str:
    heads = ("round", "requests", "failed", "median", "streams", "cut", "median", "longest", "services", "load average")
    named = [(str(number), each) for number, each in enumerate(result["rounds"], 1)]
    if "abrupt" in result:
        named.append(("negative control", result["abrupt"]))
    return markdown.table(heads, [(name, *_cells(each)) for name, each in named])


def _cells(each: dict[str, Any]) -> tuple[object, ...]:
    request, stream = each["request_seconds"], each["stream_seconds"]
    requests = (each["requests"], each["failed"], f"{request['median']:.2f} s")
    streams = (each["streams"], each["cut"], f"{stream['median']:.0f} s", f"{stream['longest']:.0f} s")
    return (*requests, *streams, len(each["restart_seconds"]), each["load_average"])


def save(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


async def under_load(key: str, tokens: int, services: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Restart the services one after the other while the load runs. Return its summary and the seconds of each."""
    seconds = {}
    async with Load(trial.GATEWAY, key, tokens=tokens) as load:
        await asyncio.sleep(SETTLE_SECONDS)
        for service in services:
            seconds[service] = round(await asyncio.to_thread(trial.restart, service), 1)
        await asyncio.sleep(SETTLE_SECONDS)
    return {**load.summary(), "restart_seconds": seconds, "load_average": round(os.getloadavg()[0], 1)}


if __name__ == "__main__":
    sys.exit(main())
