"""A reader of Prometheus's text format and OpenMetrics that is fast for the second page of a target, and all after it.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://prometheus.io/docs/specs/om/open_metrics_spec/

From one scrape to the next, the same lines come in the same order, and few of their numbers change. So the reader keeps
the lines of the last page. It skips a line that is the same, parses the number alone of a line that begins the same,
and reads the whole page anew if any other line changed.

Explicit timestamps and exemplars are read over: all samples of a page have the time of their scrape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from llm_monitor.series.page import Description, Layout, Page
from llm_monitor.series.selection import NAME, Labels, labels_of

MAX_LINES = 200_000
MAX_LINE_BYTES = 16_384

_HEAD = re.compile(rb'([a-zA-Z_:][\w:]*)[ \t]*(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}[ \t]*|[ \t])')
_LABEL = re.compile(rb'[ \t]*([a-zA-Z_]\w*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|$)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMMENT = re.compile(rb"#[ \t]+(TYPE|HELP)[ \t]+([a-zA-Z_:][\w:]*)[ \t]+(.*)", re.DOTALL)
_FAMILIES_WITH_CREATED = ("counter", "histogram", "summary", "gaugehistogram")

COMMENT = -1
"""Slot of a line whose change can change the meaning of others."""
IGNORED = -2
"""Slot of a line whose changes do not matter."""


class PageTooLong(ValueError):
    """A page with more lines than any exporter has."""


class Reader:
    """The reader of one target's pages. `labels` go to every series; a page's own label of that name is renamed."""

    def __init__(self, labels: Mapping[str, str], max_series: int = 5_000) -> None:
        self._labels = dict(labels)
        self._max_series = max_series
        self._lines: list[bytes] = []
        self._prefixes: list[bytes] = []
        """By line: everything before the number."""
        self._slots: list[int] = []
        """By line: position of its number in the vector of values, COMMENT or IGNORED."""
        self._known: dict[bytes, Labels] = {}
        """Labels by prefix."""
        self._page = Page(Layout(()), np.zeros(0))

    def read(self, body: bytes) -> Page:
        """Return the page's samples. Lines in another form are counted in its layout. Raises PageTooLong."""
        lines = body.split(b"\n") if body.count(b"\n") < MAX_LINES else []
        if not lines:
            raise PageTooLong(f"the page has more than {MAX_LINES} lines")
        if len(lines) != len(self._lines) or not self._read_changes(lines):
            self._read_all(lines)
        self._lines = lines
        return self._page

    def _read_changes(self, lines: list[bytes]) -> bool:
        """Write the numbers of lines that changed. Return False if more than numbers changed."""
        slots, prefixes, values = self._slots, self._prefixes, self._page.values
        for at, (line, before) in enumerate(zip(lines, self._lines, strict=True)):
            if line == before:
                continue
            slot = slots[at]
            if slot == IGNORED:
                continue
            if slot == COMMENT or not line.startswith(prefixes[at]):
                return False
            value = read_value(line[len(prefixes[at]) :])
            if value is None:
                return False
            values[slot] = value
        return True

    def _read_all(self, lines: list[bytes]) -> None:
        found = _Found()
        families: dict[str, Description] = {}
        seen: dict[Labels, int] = {}
        for line in lines:
            if not line.strip() or line[:1] == b"#":
                found.line(b"", COMMENT)
                _describe(families, line)
            elif len(seen) >= self._max_series:
                found.line(b"", IGNORED)
                found.dropped += 1
            elif (sample := self._read_line(line, families)) is None:
                found.line(b"", COMMENT)
                found.garbage += 1
            else:
                prefix, labels, value = sample
                if labels is None or labels in seen:
                    found.line(prefix, IGNORED)
                else:
                    seen[labels] = len(seen)
                    found.line(prefix, seen[labels])
                    found.values.append(value)
                    found.known[prefix] = labels
        self._prefixes, self._slots, self._known = found.prefixes, found.slots, found.known
        layout = Layout(tuple(seen), found.dropped, found.garbage, families)
        self._page = Page(layout, np.array(found.values, np.float64))

    def _read_line(self, line: bytes, families: Mapping[str, Description]) -> tuple[bytes, Labels | None, float] | None:
        """Return prefix, labels and value; no labels if the series is of no use; None if the line is no sample."""
        match = _HEAD.match(line) if len(line) <= MAX_LINE_BYTES else None
        if match is None:
            return None
        prefix = match[0]
        value = read_value(line[len(prefix) :])
        if value is None:
            return None
        labels = self._known.get(prefix)
        if labels is None:
            name = match[1].decode()
            if _is_creation_time(name, families):
                return prefix, None, value
            own = _read_labels(match[2] or b"")
            if own is None:
                return None
            labels = self._complete(name, own)
        return prefix, labels, value

    def _complete(self, name: str, own: dict[str, str]) -> Labels:
        renamed = {f"exported_{label}" if label in self._labels else label: value for label, value in own.items()}
        return labels_of({**renamed, **self._labels, NAME: original_name(name)})


@dataclass(slots=True)
class _Found:
    """The lines of a whole page, as far as they are read."""

    prefixes: list[bytes] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    known: dict[bytes, Labels] = field(default_factory=dict)
    dropped: int = 0
    garbage: int = 0

    def line(self, prefix: bytes, slot: int) -> None:
        self.prefixes.append(prefix)
        self.slots.append(slot)


def read_value(text: bytes) -> float | None:
    """Return the number at the beginning of `value [timestamp] [# exemplar]`; None if the text has another form."""
    try:
        number = float(text)
    except ValueError:
        parts = text.partition(b"#")[0].split()
        if len(parts) not in (1, 2) or b"_" in text.partition(b"#")[0]:
            return None
        try:
            number = float(parts[0])
            if not math.isfinite(float(parts[-1])) and len(parts) == 2:
                return None
        except ValueError:
            return None
        return number
    return None if b"_" in text else number  # Python reads 1_000, Prometheus does not


def original_name(name: str) -> str:
    """Return vLLM's name of a metric. Prometheus's client rewrites `vllm:` if it is asked for OpenMetrics."""
    return "vllm:" + name.removeprefix("vllm_") if name.startswith("vllm_") else name


def _read_labels(text: bytes) -> dict[str, str] | None:
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if match is None:
            return None if text[at:].strip() else labels
        name = match[1].decode()
        if name in labels:
            return None
        labels[name] = _unescaped(match[2].decode(errors="replace"))
        at = match.end()
    return labels


def _unescaped(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPE.sub(lambda match: {"n": "\n", '"': '"', "\\": "\\"}.get(match[1], match[0]), value)


def _describe(families: dict[str, Description], line: bytes) -> None:
    match = _COMMENT.match(line) if len(line) <= MAX_LINE_BYTES else None
    if match is None:
        return
    name, text = original_name(match[2].decode()), match[3].decode(errors="replace").strip()
    kind, help_text = families.get(name, Description("unknown", ""))
    families[name] = Description(text, help_text) if match[1] == b"TYPE" else Description(kind, _unescaped(text))


def _is_creation_time(name: str, families: Mapping[str, Description]) -> bool:
    """Return whether a sample is the time at which a counter or histogram was created, which clients add to each."""
    if not name.endswith("_created"):
        return False
    base = original_name(name.removesuffix("_created"))
    return any(
        family.kind in _FAMILIES_WITH_CREATED
        for family in (families.get(base), families.get(f"{base}_total"))
        if family is not None
    )
