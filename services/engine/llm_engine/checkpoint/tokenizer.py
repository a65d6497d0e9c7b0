"""The tokenizer: text to tokens and back, from tokenizer.json, and the tokens that end a text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeAlias

from tokenizers import Tokenizer as FastTokenizer

from llm_engine.checkpoint.chat_template import ChatTemplates
from llm_engine.checkpoint.folder import read_json
from llm_engine.checkpoint.token_bytes import TokenBytes
from llm_engine.errors import ModelError, RequestError
from llm_engine.request.detokenizer import IncrementalDecoder

MAX_BAD_WORDS = 128
"""vLLM's limit. Every word is checked before every token."""
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenizer:
    """A model's tokenizer. ModelError if the folder has no valid tokenizer.json."""

    has_text = True

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
        self.longest_token = max(map(len, self._fast.get_vocab(with_added_tokens=True)), default=1)
        """Characters of the longest token in the vocabulary's notation: at most one per byte."""
        self.token_bytes = TokenBytes(self._fast)
        self.settings = _read_optional(folder / "tokenizer_config.json")
        self.eos_token_ids = self._find_eos_token_ids(folder)
        self.chat_templates = ChatTemplates(folder, self.settings)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        # The batch call releases the interpreter lock. The "fast" variant leaves out offsets, not tokens.
        ids: list[int] = self._fast.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids
        return ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        text: str = self._fast.decode(token_ids, skip_special_tokens=skip_special_tokens)
        return text

    def split(self, text: str, add_special_tokens: bool = True) -> tuple[list[int], list[str]]:
        """Encode `text`. Return its tokens and the piece of `text` that each one covers.

        The pieces join to `text`. A character that several tokens share belongs to the last of them. A token that the
        tokenizer adds covers nothing.
        """
        (encoding,) = self._fast.encode_batch([text], add_special_tokens=add_special_tokens)
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
        """Return the text that each token adds to the tokens before it, special tokens included."""
        decoder = IncrementalDecoder(partial(self.decode, skip_special_tokens=False), ())
        pieces = [decoder.push(token) for token in token_ids]
        if pieces:
            pieces[-1] += decoder.flush()
        return pieces

    def info(self) -> dict[str, object]:
        """Return tokenizer_config.json with the chat template, even if that comes from a file of its own."""
        template = self.chat_templates.default
        shown = {} if template is None else {"chat_template": template}
        return {"tokenizer_class": "PreTrainedTokenizerFast", **self.settings, **shown}

    def names(self, token_ids: Sequence[int]) -> list[str]:
        """Return the tokens in the vocabulary's notation."""
        return [self._fast.id_to_token(token) or "" for token in token_ids]

    def decode_one(self, token_id: int) -> str:
        """Return the text of a single token, special tokens included."""
        return self.decode([token_id], skip_special_tokens=False)

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each word, at the start of a text and after a space (vLLM's rule for `bad_words`).

        The second form is left out unless it has as many tokens as the first and another first token. RequestError if
        there are too many words.
        """
        if not words:
            return []
        if len(words) > MAX_BAD_WORDS or sum(map(len, words)) > MAX_BAD_WORDS * 100:
            raise RequestError(f"bad_words has {len(words)} words; at most {MAX_BAD_WORDS} are allowed", "bad_words")
        texts = [prefix + word.lstrip() for word in words for prefix in ("", " ")]
        ids = [encoding.ids for encoding in self._fast.encode_batch_fast(texts, add_special_tokens=False)]
        encoded: list[list[int]] = []
        for word, begin, middle in zip(words, ids[::2], ids[1::2], strict=True):
            if not begin:
                raise RequestError(f"bad_words: {word!r} has no token apart from blanks", "bad_words")
            encoded.append(begin)
            if middle and middle[0] != begin[0] and len(middle) == len(begin):
                encoded.append(middle)
        return encoded

    @property
    def special_tokens(self) -> dict[str, str]:
        """The special tokens by name, as chat templates see them."""
        return {name: text for name in SPECIAL_TOKENS if (text := self._special(name))}

    def _special(self, name: str) -> str:
        value = self.settings.get(name) or ""
        return value["content"] if isinstance(value, dict) else value

    def _find_eos_token_ids(self, folder: Path) -> tuple[int, ...]:
        token_id = self._fast.token_to_id(self._special("eos_token"))
        return configured_eos_token_ids(folder) or (() if token_id is None else (token_id,))


class NoTokenizer:
    """The tokenizer of `--skip-tokenizer-init`: token ids only. RequestError if a request needs text."""

    has_text = False
    longest_token = 1

    def __init__(self, folder: Path) -> None:
        self.eos_token_ids = configured_eos_token_ids(folder)

    def token_bytes(self, token_id: int) -> bytes:
        return b""

    def split(self, text: str, add_special_tokens: bool = True) -> tuple[list[int], list[str]]:
        return self.encode(text, add_special_tokens), []

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        return [""] * len(token_ids)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        raise RequestError("the engine runs without a tokenizer; the prompt must be token ids", "prompt")

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        if words:
            raise RequestError("the engine runs without a tokenizer, which bad_words need", "bad_words")
        return []

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return ""

    def decode_one(self, token_id: int) -> str:
        """Return vLLM's notation for a token without text."""
        return f"token_id:{token_id}"

    def info(self) -> dict[str, object]:
        raise RequestError("the engine runs without a tokenizer")

    def names(self, token_ids: Sequence[int]) -> list[str]:
        return [self.decode_one(token) for token in token_ids]


AnyTokenizer: TypeAlias = Tokenizer | NoTokenizer


def configured_eos_token_ids(folder: Path) -> tuple[int, ...]:
    """Read the end-of-text tokens from generation_config.json, where chat models list several, else config.json."""
    for name in ("generation_config.json", "config.json"):
        value = _read_optional(folder / name).get("eos_token_id")
        if value is not None:
            return tuple(value) if isinstance(value, list) else (value,)
    return ()


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
