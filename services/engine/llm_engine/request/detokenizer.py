"""Incremental detokenisation: text token by token, never half a character and never part of a stop string.

A token can hold part of a UTF-8 character, and its text can depend on the token before it. So a token's text is the
difference between two decodings of a short window. While the window ends in U+FFFD, a character can be unfinished, and
its text is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
CONTEXT_TOKENS = 5
"""Prompt tokens in the first window, so that the first output token is decoded as a continuation."""
MAX_UNFINISHED_TOKENS = 4
"""A character has at most four bytes in UTF-8. Text that four tokens do not complete is invalid, not unfinished."""


class IncrementalDecoder:
    """The text of one sequence, decoded token by token."""

    def __init__(self, decode: Callable[[Sequence[int]], str], prompt_ids: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(prompt_ids[-CONTEXT_TOKENS:])
        self._num_sent = len(self._window)
        """Tokens at the start of the window whose text has been returned."""
        self._sent = decode(self._window)
        self._num_unfinished = 0
        """Tokens at the end of the window that can be the start of a character."""

    def push(self, token_id: int) -> str:
        """Return the text that the token completes; empty while a character is unfinished."""
        self._window.append(token_id)
        text = self._decode(self._window)
        self._num_unfinished = self._num_unfinished + 1 if text.endswith(REPLACEMENT) else 0
        if 0 < self._num_unfinished < MAX_UNFINISHED_TOKENS or len(text) <= len(self._sent):
            return ""
        return self._send(text)

    def flush(self) -> str:
        """Return the text of an unfinished character at the end, as replacement characters."""
        text = self._decode(self._window)
        return self._send(text) if len(text) > len(self._sent) else ""

    def _send(self, text: str) -> str:
        new = text[len(self._sent) :]
        self._window = self._window[self._num_sent :]
        self._num_sent = len(self._window)
        self._sent = self._decode(self._window)
        self._num_unfinished = 0
        return new


class StopStrings:
    """A search for stop strings in text that arrives in pieces. It holds back text that can be the start of one."""

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        """Search for `stops`. `include`: the stop string itself stays in the text."""
        self.found: str | None = None
        self._stops = tuple(stops)
        self._include = include
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Add text. Return the text that can be sent, and whether a stop string ended it."""
        if not self._stops:
            return text, False
        text = self._held + text
        found = [(index, stop) for stop in self._stops if (index := text.find(stop)) >= 0]
        if found:
            index, self.found = min(found)
            self._held = ""
            return text[: index + len(self.found) * self._include], True
        keep = self._length_to_hold(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """Return the text held back."""
        held, self._held = self._held, ""
        return held

    def _length_to_hold(self, text: str) -> int:
        """Return the length of the longest end of `text` that is the start of a stop string."""
        return max(_length_of_beginning(stop, text) for stop in self._stops)


def _length_of_beginning(stop: str, text: str) -> int:
    """Return the length of the longest end of `text` that is a start of `stop`, but not all of it."""
    start = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while start >= 0:
        if stop.startswith(text[start:]):
            return len(text) - start
        start = text.find(stop[0], start + 1)
    return 0


class Detokenizer:
    """The text of one answer: an incremental decoder and a search for stop strings."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        prompt_ids: Sequence[int],
        stops: Sequence[str],
        *,
        include_stop: bool = False,
        late: bool = False,
        keep_pieces: bool = False,
    ) -> None:
        """Start a text. `late`: it is wanted at the end only, so without stop strings it is decoded at the end.

        `keep_pieces`: collect each token's text in `pieces`.
        """
        self.pieces: list[str] | None = [] if keep_pieces else None
        """The text of each token, even if a stop string holds it back or cuts it. The caller can take them away."""
        self._late: list[int] | None = [] if late and not stops else None
        self._decoder = IncrementalDecoder(decode, prompt_ids)
        self._stops = StopStrings(stops, include_stop)

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the text."""
        return self._stops.found

    def push(self, token_id: int, may_stop: bool = True) -> tuple[str, bool]:
        """Add a token. Return the new text, and whether a stop string ended it.

        Text added with `may_stop=False` is never part of a stop string.
        """
        if self._late is not None:
            self._late.append(token_id)
            return "", False
        text = self._decode(token_id)
        return self._stops.push(text) if may_stop else (text, False)

    def flush(self) -> str:
        """Return all text held back, for an answer that no stop string ended."""
        text, rest = "".join(map(self._decode, self._late or ())), self._decoder.flush()
        if self.pieces and rest:
            self.pieces[-1] += rest
        text, stopped = self._stops.push(text + rest)
        return text if stopped else text + self._stops.flush()

    def _decode(self, token_id: int) -> str:
        text = self._decoder.push(token_id)
        if self.pieces is not None:
            self.pieces.append(text)
        return text
