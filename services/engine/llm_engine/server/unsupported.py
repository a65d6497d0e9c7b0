"""Fields that would change the answer, and that we do not know how to honour: a clear 400 instead of a wrong result.

Fields that nobody defined are accepted and ignored, as in vLLM. A later feature removes its line here.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from llm_contract.errors import ApiError, ErrorKind

HARMLESS: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "suffix": ("",),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "skip_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "prompt_embeds": (),
    "chat_template": (),
    "documents": ([],),
    "modalities": (["text"],),
}
"""Field -> values beside null that ask for nothing special."""


def reject(body: BaseModel) -> None:
    """Raise a 400 for the first field that asks for something we would get wrong."""
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    for name, value in fields.items():
        if name not in HARMLESS or value is None or _is_harmless(value, HARMLESS[name]):
            continue
        allowed = " or ".join(repr(item) for item in (*HARMLESS[name], None))
        raise ApiError(
            ErrorKind.INVALID_REQUEST, f"{name} is not supported; leave it out or set it to {allowed}", param=name
        )


def _is_harmless(value: Any, harmless: tuple[Any, ...]) -> bool:
    return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in harmless)
