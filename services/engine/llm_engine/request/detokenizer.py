"""Tokens to text as they come: never half a character, never a piece of a stop string.

A token may hold part of a UTF-8 character, and a tokenizer may render a token differently after another one, so the
text of one token is the difference between two decodings of a short window. While the window ends in U+FFFD a
character may be unfinished, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
CONTEXT_TOKENS = 5
"""Prompt tokens in front of the output, so that its first token is rendered as a continuation."""
MAX_UNFINISHED_TOKENS = 4
"""UTF-8 characters have at most four bytes: more tokens than that and the text is broken, not unfinished."""


class IncrementalDecoder:
    def __init__(self, decode: Callable[[Sequence[int]], str], prompt_ids: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(prompt_ids[-CONTEXT_TOKENS:])
        self._num_said = len(self._window)
        """Tokens at the start of the window whose text is out already."""
        self._said = decode(self._window)
        self._num_unfinished = 0
        """Tokens at the end of the window that can be the beginning of a character."""

    def push(self, token_id: int) -> str:
        """The text that the token completes; empty while a character is unfinished."""
        self._window.append(token_id)
        text = self._decode(self._window)
        self._num_unfinished = self._num_unfinished + 1 if text.endswith(REPLACEMENT) else 0
        if 0 < self._num_unfinished < MAX_UNFINISHED_TOKENS or len(text) <= len(self._said):
            return ""
        return self._say(text)

    def flush(self) -> str:
        """Return the text of an unfinished character at the end: replacement characters, as a decoder writes them."""
        text = self._decode(self._window)
        return self._say(text) if len(text) > len(self._said) else ""

    def _say(self, text: str) -> str:
        new = text[len(self._said) :]
        self._window = self._window[self._num_said :]
        self._num_said = len(self._window)
        self._said = self._decode(self._window)
        self._num_unfinished = 0
        return new


class StopStrings:
    """A search for stop strings in text that comes in pieces; it holds back text that can be the start of one."""

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        """`include`: the stop string itself belongs to the text."""
        self.found: str | None = None
        self._stops = tuple(stops)
        self._include = include
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text that may go out, whether a stop string was found: then the text ends there)."""
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
        held, self._held = self._held, ""
        return held

    def _length_to_hold(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        return max(_length_of_beginning(stop, text) for stop in self._stops)


def _length_of_beginning(stop: str, text: str) -> int:
    """Length of the longest end of `text` that begins `stop` and is not all of it."""
    start = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while start >= 0:
        if stop.startswith(text[start:]):
            return len(text) - start
        start = text.find(stop[0], start + 1)
    return 0


class Detokenizer:
    """One request's text: an incremental decoder and its stop strings."""

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
        """`late`: the text is wanted at the end only; without stop strings it is then decoded at the end."""
        self.pieces: list[str] | None = [] if keep_pieces else None
        """The text that each token adds, whether a stop string holds or cuts it or not; the caller may take them."""
        self._late: list[int] | None = [] if late and not stops else None
        self._decoder = IncrementalDecoder(decode, prompt_ids)
        self._stops = StopStrings(stops, include_stop)

    @property
    def stop_string(self) -> str | None:
        """The one that ended the text."""
        return self._stops.found

    def push(self, token_id: int, may_stop: bool = True) -> tuple[str, bool]:
        """(new text, whether a stop string ended it). Text before `may_stop` never counts towards a stop string."""
        if self._late is not None:
            self._late.append(token_id)
            return "", False
        text = self._decode(token_id)
        return self._stops.push(text) if may_stop else (text, False)

    def flush(self) -> str:
        """Everything held back; the request ended otherwise than by a stop string."""
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
