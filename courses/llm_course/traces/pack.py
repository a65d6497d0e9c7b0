"""A trace in little space: block tables as differences, token texts once, what follows from other fields left out.

    pack(events)      events of an engine trace (schema 2) -> lines of JSON
    unpack(text)      lines of JSON -> events; times are rounded to 10 microseconds

`docs/assets/js/replay.js` unpacks the same form. A sequence is named by its row, the number of its `request` event.

    {"s": time, "q": [[row, tokens, keep, [blocks]], …], …}     step: its table keeps that many blocks and gets these
    {"r": time, "d": seconds, "x": [[row, token, …], …], …}     result
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
LISTS = {"c": "copies", "e": "evicted", "l": "lost", "i": "inserted"}
"""Fields of a step that are copied, and left out while they are empty."""
COUNTERS = ("free", "cached", "evictions", "free_host")


def pack(events: Iterable[Event]) -> str:
    return "".join(
        json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in _Packer().lines(events)
    )


def unpack(text: str) -> list[Event]:
    unpacker = _Unpacker()
    return [event for line in text.split("\n") if line and (event := unpacker.event(json.loads(line)))]


@dataclass
class _Known:
    """The sequences as both sides know them so far."""

    rows: list[str] = field(default_factory=list)
    tables: dict[str, list[int]] = field(default_factory=dict)
    computed: dict[str, int] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    counters: list[int] = field(default_factory=list)
    under_way: dict[int, Event] = field(default_factory=dict)
    num_steps: int = 0

    def take_step(self, event: Event) -> None:
        for item in event["sequences"]:
            self.tables[item["id"]] = item["block_table"]
            self.computed[item["id"]] = item["first_token"] + item["num_tokens"]
        self.num_steps += 1

    def take_result(self, event: Event) -> None:
        for item in event["sampled"]:
            self.computed[item["id"]] -= item["rejected_drafts"]


class _Packer(_Known):
    def lines(self, events: Iterable[Event]) -> Iterable[Any]:
        for event in events:
            yield from getattr(self, f"_{event['event']}", self._other)(event)

    def _other(self, event: Event) -> Iterable[Any]:
        yield event

    def _request(self, event: Event) -> Iterable[Any]:
        self.rows.append(event["id"])
        yield from self._new_texts(event["prompt_token_ids"], event["prompt_texts"])
        yield {key: value for key, value in event.items() if key != "prompt_texts"} | {"time": _short(event["time"])}

    def _finish(self, event: Event) -> Iterable[Any]:
        yield {"f": self.rows.index(event["id"]), "t": _short(event["time"]), "y": event["reason"]}

    def _step(self, event: Event) -> Iterable[Any]:
        waiting = self._rows(event["waiting"])
        counters = [event["blocks"][name] for name in COUNTERS]
        line: Event = {"s": _short(event["time"]), "q": [self._sequence(item) for item in event["sequences"]]}
        line |= {short: event[name] for short, name in LISTS.items() if event[name]}
        if event["skipped"]:
            line["k"] = self._rows(event["skipped"])
        if event["admitted"]:
            names = ("cached_tokens", "host_tokens", "cached_blocks")
            line["a"] = [[self.rows.index(item["id"]), *(item[name] for name in names)] for item in event["admitted"]]
        if event["preempted"]:
            line["p"] = [
                [*self._rows([item["id"], item["needed_by"]]), item["lost_tokens"], item["host_blocks"]]
                for item in event["preempted"]
            ]
        if waiting != self.waiting:
            line["w"] = self.waiting = waiting
        if counters != self.counters:
            line["b"] = self.counters = counters
        self.take_step(event)
        yield line

    def _sequence(self, item: Event) -> list[Any]:
        old, new = self.tables.get(item["id"], []), item["block_table"]
        keep = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        fields: list[Any] = [keep, new[keep:], item["draft_token_ids"], item["first_token"]]
        expected = [len(old), [], [], self.computed.get(item["id"], 0)]
        while fields and fields[-1] == expected[len(fields) - 1]:
            fields.pop()
        return [self.rows.index(item["id"]), item["num_tokens"], *fields]

    def _result(self, event: Event) -> Iterable[Any]:
        for item in event["sampled"]:
            yield from self._new_texts(item["token_ids"], item["texts"])
        sampled = [[self.rows.index(item["id"]), *item["token_ids"]] for item in event["sampled"]]
        line: Event = {"r": _short(event["time"]), "d": _short(event["duration"]), "x": sampled}
        if event["index"] != self.num_steps - 1:
            line["n"] = event["index"]
        rejected = [item["rejected_drafts"] for item in event["sampled"]]
        line |= {"j": rejected} if any(rejected) else {}
        line |= {"i": event["inserted"]} if event["inserted"] else {}
        line |= {"g": _short(event["draft_seconds"])} if "draft_seconds" in event else {}
        self.take_result(event)
        yield line

    def _new_texts(self, token_ids: list[int], texts: list[str]) -> Iterable[Any]:
        new = {token: text for token, text in zip(token_ids, texts, strict=True) if token not in self.texts}
        self.texts |= new
        if new:
            yield {"v": new}

    def _rows(self, ids: list[str]) -> list[int]:
        return [self.rows.index(name) for name in ids]


class _Unpacker(_Known):
    def event(self, line: Event) -> Event | None:
        if "v" in line:
            self.texts |= {int(token): text for token, text in line["v"].items()}
            return None
        if "s" in line:
            return self._step(line)
        if "r" in line:
            return self._result(line)
        if "f" in line:
            return {"event": "finish", "id": self.rows[line["f"]], "time": line["t"], "reason": line["y"]}
        if line["event"] == "request":
            self.rows.append(line["id"])
            return line | {"prompt_texts": self._spell(line["prompt_token_ids"])}
        return line

    def _step(self, line: Event) -> Event:
        self.waiting = line.get("w", self.waiting)
        self.counters = line.get("b", self.counters)
        rows = self.rows
        event: Event = {
            "event": "step",
            "index": self.num_steps,
            "time": line["s"],
            "sequences": [self._sequence(*item) for item in line["q"]],
            "skipped": [rows[row] for row in line.get("k", [])],
            "admitted": [
                {"id": rows[row], "cached_tokens": cached, "host_tokens": host, "cached_blocks": blocks}
                for row, cached, host, blocks in line.get("a", [])
            ],
            "preempted": [
                {"id": rows[row], "needed_by": rows[other], "lost_tokens": lost, "host_blocks": blocks}
                for row, other, lost, blocks in line.get("p", [])
            ],
            "waiting": [rows[row] for row in self.waiting],
            **{name: line.get(short, []) for short, name in LISTS.items()},
            "blocks": dict(zip(COUNTERS, self.counters, strict=True)),
        }
        self.take_step(event)
        return event

    def _sequence(self, row: int, num_tokens: int, *fields: Any) -> Event:
        name = self.rows[row]
        old = self.tables.get(name, [])
        expected: tuple[Any, ...] = (len(old), [], [], self.computed.get(name, 0))
        keep, tail, drafts, first = fields + expected[len(fields) :]
        return {
            "id": name,
            "first_token": first,
            "num_tokens": num_tokens,
            "draft_token_ids": drafts,
            "block_table": old[:keep] + tail,
        }

    def _result(self, line: Event) -> Event:
        rejected = line.get("j", [0] * len(line["x"]))
        event: Event = {
            "event": "result",
            "index": line.get("n", self.num_steps - 1),
            "time": line["r"],
            "duration": line["d"],
            "sampled": [
                {"id": self.rows[row], "token_ids": ids, "texts": self._spell(ids), "rejected_drafts": count}
                for (row, *ids), count in zip(line["x"], rejected, strict=True)
            ],
            "inserted": line.get("i", []),
        }
        event |= {"draft_seconds": line["g"]} if "g" in line else {}
        self.take_result(event)
        return event

    def _spell(self, token_ids: list[int]) -> list[str]:
        return [self.texts[token] for token in token_ids]


def _short(seconds: float) -> float:
    return round(seconds, 5)
