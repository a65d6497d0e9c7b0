"""The fields of OpenAI's and vLLM's requests that the models in `requests` do not have: refused or ignored.

A field that would change the answer is refused by name, unless its value has no effect. A field that changes nothing
here is ignored, for the reason given. Unknown fields are ignored and logged, as in vLLM. A test compares the tables
with vLLM's own request models.
"""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel

from llm_engine.errors import RequestError

log = logging.getLogger(__name__)

REFUSED: dict[str, tuple[Any, ...]] = {
    "use_beam_search": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "logprob_token_ids": ([],),
    "prompt_embeds": ([],),
    "repetition_detection": (),
    "thinking_token_budget": (-1,),
    "watermarking": (False,),
    "cache_salt": (),
    "kv_transfer_params": ({},),
    "ec_transfer_params": ({},),
    "media_io_kwargs": ({},),
    "mm_processor_kwargs": ({},),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "verbosity": ("medium",),
}
"""Field -> values without effect; null has none either."""

_ACCOUNTING = "OpenAI's bookkeeping"
_RENDER_ONLY = "for vLLM's render endpoints; its other endpoints ignore it as well"
IGNORED: dict[str, str] = {
    "metadata": _ACCOUNTING,
    "store": _ACCOUNTING,
    "service_tier": _ACCOUNTING,
    "safety_identifier": _ACCOUNTING,
    "prompt_cache_key": "prefixes are found without a hint",
    "prompt_cache_retention": "prefixes are kept while there is room",
    "prediction": "a hint that changes the speed, not the answer",
    "session_id": "a hint for routers in front of several engines",
    "length_penalty": "only beam search reads it",
    "spaces_between_special_tokens": "tokenizers of the six families put no blanks between special tokens",
    "include_reasoning": "without a reasoning parser there is no reasoning to leave out",
    "parallel_tool_calls": "no tools are called",
    "stream_interval": "one event per piece of text has the same text",
    "vllm_xargs": "for extensions of vLLM",
    "routed_experts_prompt_start": "the six families have no experts",
    "return_token_offsets": _RENDER_ONLY,
    "mm_payload": _RENDER_ONLY,
    "return_mm_kwargs": _RENDER_ONLY,
}
"""Field -> the reason why it changes no answer."""


def reject(body: BaseModel) -> None:
    """Raise RequestError for the first field that is refused."""
    extra = body.model_extra or {}
    for name, value in extra.items():
        if name in REFUSED and value is not None and not _is_harmless(value, REFUSED[name]):
            allowed = " or ".join(repr(item) for item in (*REFUSED[name], None))
            raise RequestError(f"{name} is not supported; leave it out or set it to {allowed}", name)
    if unknown := extra.keys() - REFUSED.keys() - IGNORED.keys():
        log.debug("ignored unknown fields: %s", ", ".join(sorted(unknown)))


def _is_harmless(value: Any, harmless: tuple[Any, ...]) -> bool:
    return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in harmless)
