"""Text to tokens and back, straight from tokenizer.json; which tokens end a text; how a chat becomes a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as FastTokenizer

from llm_engine.checkpoint.folder import read_json
from llm_engine.checkpoint.token_bytes import TokenBytes
from llm_engine.detokenizer import IncrementalDecoder
from llm_engine.errors import ModelError, RequestError

PLAIN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For models that bring none."""


class Tokenizer:
    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no tokenizer.json; save the tokenizer with transformers to get one")
        try:
            self._fast = FastTokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ModelError(f"{path} is no tokenizer: {error}") from None
        self._fast.no_truncation()
        self._fast.no_padding()
        self.token_bytes = TokenBytes(self._fast)
        self._settings = _read_optional(folder / "tokenizer_config.json")
        self.eos_token_ids = self._find_eos_token_ids(folder)
        self._chat_template = _compile(self._find_chat_template(folder))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        text: str = self._fast.decode(token_ids, skip_special_tokens=skip_special_tokens)
        return text

    def split(self, text: str, add_special_tokens: bool = True) -> tuple[list[int], list[str]]:
        """Encode `text`; return its tokens and the piece of `text` that each one covers.

        The pieces join to `text`. A character that several tokens share belongs to the last of them, and a token that
        the tokenizer adds covers nothing.
        """
        encoding = self._fast.encode(text, add_special_tokens=add_special_tokens)
        ends, following = [], len(text)
        for (start, end), added in zip(reversed(encoding.offsets), reversed(encoding.special_tokens_mask), strict=True):
            ends.append(following if added else min(end, following))
            following = following if added else min(start, following)
        ends.reverse()
        if ends:
            ends[-1] = len(text)
        bounds = [0, *accumulate(ends, max)]
        return encoding.ids, [text[start:end] for start, end in pairwise(bounds)]

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The text that each token adds to those before it, special ones included; together, the text of them all."""
        decoder = IncrementalDecoder(partial(self.decode, skip_special_tokens=False), ())
        pieces = [decoder.push(token) for token in token_ids]
        if pieces:
            pieces[-1] += decoder.flush()
        return pieces

    def decode_one(self, token_id: int) -> str:
        """The token's own text, special ones included."""
        return self.decode([token_id], skip_special_tokens=False)

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Each word's tokens, as it begins a text and, where that is as many tokens and begins otherwise, after a
        space: vLLM's reading of `bad_words`."""
        encoded = []
        for word in words:
            begin, middle = (self.encode(prefix + word.lstrip(), add_special_tokens=False) for prefix in ("", " "))
            encoded.append(begin)
            if middle[0] != begin[0] and len(middle) == len(begin):
                encoded.append(middle)
        return encoded

    def apply_chat_template(
        self,
        messages: list[dict[str, Any]],
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **kwargs: Any,
    ) -> str:
        """The prompt up to where the assistant speaks, or, to continue the last message, up to where that ends.

        RequestError if the template refuses the messages.
        """
        try:
            text: str = self._chat_template.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                bos_token=self._special("bos_token"),
                eos_token=self._special("eos_token"),
                **kwargs,
            )
        except (TemplateError, TypeError) as error:
            raise RequestError(f"the model's chat template refuses these messages: {error}", "messages") from None
        return _up_to_last(text, messages[-1]) if continue_final_message else text

    def encode_chat(self, messages: list[dict[str, Any]], **kwargs: Any) -> list[int]:
        """A model's own template writes the special tokens itself; the plain one leaves them to the tokenizer."""
        return self.encode(self.apply_chat_template(messages, **kwargs), add_special_tokens=not self.has_chat_template)

    def _special(self, name: str) -> str:
        value = self._settings.get(name) or ""
        return value["content"] if isinstance(value, dict) else value

    def _find_eos_token_ids(self, folder: Path) -> tuple[int, ...]:
        token_id = self._fast.token_to_id(self._special("eos_token"))
        return configured_eos_token_ids(folder) or (() if token_id is None else (token_id,))

    def _find_chat_template(self, folder: Path) -> str:
        path = folder / "chat_template.jinja"
        template = path.read_text(encoding="utf-8") if path.is_file() else self._settings.get("chat_template")
        if isinstance(template, list):  # several, by name
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        self.has_chat_template = bool(template)
        return template or PLAIN_CHAT_TEMPLATE


class NoTokenizer(Tokenizer):
    """`--skip-tokenizer-init`: token ids in and out, and no text."""

    def __init__(self, folder: Path) -> None:
        self.eos_token_ids = configured_eos_token_ids(folder)
        self.has_chat_template = False

    def token_bytes(self, token_id: int) -> bytes:  # type: ignore[override]
        return b""

    def split(self, text: str, add_special_tokens: bool = True) -> tuple[list[int], list[str]]:
        return self.encode(text, add_special_tokens), []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        raise RequestError("the engine runs without a tokenizer; the prompt must be token ids", "prompt")

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return ""


def configured_eos_token_ids(folder: Path) -> tuple[int, ...]:
    """From the generation config (chat models name several there), else from config.json."""
    for name in ("generation_config.json", "config.json"):
        value = _read_optional(folder / name).get("eos_token_id")
        if value is not None:
            return tuple(value) if isinstance(value, list) else (value,)
    return ()


def _up_to_last(text: str, message: dict[str, Any]) -> str:
    """`text` without what the template wrote after the message's content."""
    content = str(message["content"]).strip()
    start = text.rfind(content)
    if start < 0:
        raise RequestError("the chat template changes the last message, so it cannot be continued", "messages")
    return text[: start + len(content)]


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _compile(template: str) -> Any:
    """As transformers does it: sandboxed, since a template comes with the model and may come from anybody."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise_exception
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise ModelError(f"the chat template is broken: {error}") from None


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
