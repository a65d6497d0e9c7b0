"""`./lab traces`: record what the pages replay."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from llm_course.errors import UsageError
from llm_course.traces import files, live, workloads
from llm_course.traces.pack import pack

RECORDINGS = Path(__file__).with_name("recordings.yaml")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    traces = commands.add_parser("traces", help="record the traces that the pages replay")
    actions = traces.add_subparsers(metavar="ACTION", required=True)
    record = actions.add_parser("record", help="run engine and gateway and write docs/assets/traces")
    record.add_argument("names", nargs="*", help="recordings of recordings.yaml; all without one")
    record.add_argument("--to", type=Path, default=files.FOLDER, help="folder for the scripts")
    record.set_defaults(command=_record)


def recordings() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(RECORDINGS.read_text(encoding="utf-8"))
    return found


def text_of(name: str, recording: dict[str, Any]) -> str:
    """Run the recording and return its lines; the first says what it is and which command makes it."""
    head = {"event": "recording", "name": name, "about": recording["about"], "command": f"./lab traces record {name}"}
    if "live" in recording:
        events = live.record(recording["live"])
        return "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in (head, *events))
    from llm_course.traces import engine  # imports torch, which no other command needs

    workload = dict(recording["workload"])
    arrivals = workloads.make(workload.pop("kind"), workload)
    static = bool(recording.get("static"))
    flags = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in recording["engine"].items())
    head |= {"flags": flags, "static": static}
    return pack([head, *engine.record(recording["engine"], arrivals, static=static)])


def _record(arguments: argparse.Namespace) -> None:
    known = recordings()
    if unknown := sorted(set(arguments.names) - known.keys()):
        raise UsageError(f"there is no recording {', '.join(unknown)}; there are {', '.join(known)}")
    for name in arguments.names or known:
        path = files.write(name, text_of(name, known[name]), arguments.to)
        print(f"{path}: {path.stat().st_size / 1000:.1f} kB")
