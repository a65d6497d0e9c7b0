"""Characters of several tokens come out whole, however many bytes they have."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llm_engine.request.detokenizer import Detokenizer


def decode(token_ids: Sequence[int]) -> str:
    """Decode as a tokenizer does whose tokens are single bytes."""
    return bytes(token_ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize("text", ["plain", "größer", "日本語", "all is well 🙂.", "🙂🙃"])
def test_streamed_text_is_the_text(text: str) -> None:
    detokenizer = Detokenizer(decode, list(b"prompt"), [])
    pieces = [detokenizer.push(token)[0] for token in text.encode()]
    assert "".join(pieces) + detokenizer.flush() == text
