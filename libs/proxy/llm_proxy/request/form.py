"""The few text fields that a proxy reads in a multipart form, without parsing the rest: files stay untouched."""

from __future__ import annotations

import re

MAX_PARTS = 64
MAX_PART_HEAD_BYTES = 4096
MAX_VALUE_BYTES = 1024

_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:\s*form-data;[^\r\n]*?\bname="?([^";\r\n]*)"?', re.IGNORECASE)


class Form:
    """A body and the positions of its text fields. A body that is not a form has no fields."""

    def __init__(self, raw: bytes, content_type: str) -> None:
        self.raw = raw
        self._spans: dict[str, tuple[int, int]] = {}
        if content_type.lower().startswith("multipart/form-data") and (found := _BOUNDARY.search(content_type)):
            self._find(b"--" + found[1].encode("latin-1"))

    def get(self, name: str) -> str | None:
        """Return the field's value, None if it is missing or not text."""
        span = self._spans.get(name)
        if span is None:
            return None
        try:
            return self.raw[span[0] : span[1]].decode()
        except UnicodeDecodeError:
            return None

    def replaced(self, name: str, value: str) -> bytes:
        """Return the body with another value for an existing field."""
        begin, end = self._spans[name]
        return self.raw[:begin] + value.encode() + self.raw[end:]

    def _find(self, delimiter: bytes) -> None:
        raw, position = self.raw, self.raw.find(delimiter)
        for _ in range(MAX_PARTS):
            if position < 0:
                return
            head_end = raw.find(b"\r\n\r\n", position, position + MAX_PART_HEAD_BYTES)
            following = raw.find(b"\r\n" + delimiter, position + len(delimiter))
            if head_end < 0 or following < head_end:
                return
            head, begin = raw[position:head_end], head_end + 4
            name = _NAME.search(head)
            if name is not None and b"filename" not in head and following - begin <= MAX_VALUE_BYTES:
                self._spans[name[1].decode("utf-8", "replace")] = (min(begin, following), following)
            position = following + 2
