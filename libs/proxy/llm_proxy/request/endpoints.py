"""The paths that make an engine work, and their differences.

Chat and completions are understood: their streams can be resumed, their tokens counted, their priority set. The others
pass through unchanged; only their model and the fields that order them are read. An engine without such an endpoint
answers 404, which goes back to the client.
"""

from __future__ import annotations

from dataclasses import dataclass

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
UNDERSTOOD = (CHAT, COMPLETIONS)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path that makes an engine work."""

    summary: str
    generates: bool = False
    """The answer is generated token by token."""
    is_form: bool = False
    """The body is multipart/form-data."""


_RERANK = Endpoint("Rank documents by a query")
_SCORE = Endpoint("Score pairs of texts")

QUEUED: dict[str, Endpoint] = {
    COMPLETIONS: Endpoint("Complete a prompt", generates=True),
    CHAT: Endpoint("Continue a chat", generates=True),
    "/v1/responses": Endpoint("Create a response", generates=True),
    "/v1/messages": Endpoint("Continue a chat, in Anthropic's API", generates=True),
    "/v1/embeddings": Endpoint("Embed texts"),
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/rerank": _RERANK,
    "/v1/score": _SCORE,
    "/score": _SCORE,
    "/v1/audio/transcriptions": Endpoint("Transcribe speech", generates=True, is_form=True),
    "/v1/audio/translations": Endpoint("Translate speech", generates=True, is_form=True),
}
