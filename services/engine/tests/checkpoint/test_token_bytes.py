"""The bytes of a token and its piece of a text, for every kind of tokenizer of the six families."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer

from llm_engine.checkpoint.token_bytes import byte_alphabet
from llm_engine.checkpoint.tokenizer import Tokenizer

TEXTS = st.text(st.sampled_from("ab é日😀\n") | st.characters(exclude_categories=("Cs",)), max_size=24)
SPECIAL = "<|end|>"


def byte_level(trim_offsets: bool) -> FastTokenizer:
    """GPT-2's, Llama 3's (which trims offsets) and Qwen's kind: each byte has a token, some pairs another one."""
    alphabet = {byte: char for char, byte in byte_alphabet().items()}
    vocab = {alphabet[byte]: byte for byte in range(256)}
    blank = alphabet[ord(" ")]
    vocab |= {blank + "a": 256, "ab": 257, alphabet[0xE6] + alphabet[0x97]: 258}
    tokenizer = FastTokenizer(models.BPE(vocab, [(blank, "a"), ("a", "b"), (alphabet[0xE6], alphabet[0x97])]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return tokenizer


def sentencepiece(metaspace: bool) -> FastTokenizer:
    """Llama 2's, Mistral's, Gemma's and Phi-3's kind: blanks are ▁, and unknown characters fall back to bytes."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "é", "▁a", "ab"]
    vocab = {word: place for place, word in enumerate(words)}
    merges = [("▁", "a"), ("a", "b")]
    tokenizer = FastTokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        first: Any = decoders.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), first])
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer


def with_begin(tokenizer: FastTokenizer) -> FastTokenizer:
    begin = tokenizer.token_to_id(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(f"{SPECIAL} $A {SPECIAL}", None, [(SPECIAL, begin)])
    return tokenizer


KINDS: dict[str, Callable[[], FastTokenizer]] = {
    "byte level": lambda: byte_level(trim_offsets=False),
    "byte level, offsets trimmed": lambda: byte_level(trim_offsets=True),
    "sentencepiece": lambda: sentencepiece(metaspace=False),
    "metaspace": lambda: sentencepiece(metaspace=True),
}


@pytest.fixture(scope="module", params=[*KINDS, *(f"{kind}, with begin and end" for kind in KINDS), "shipped"])
def tokenizer(request: Any, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "shipped":
        return Tokenizer(models / "main")
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    fast = KINDS[request.param.removesuffix(", with begin and end")]()
    fast.add_special_tokens([AddedToken(SPECIAL, special=True)])
    if "with begin" in request.param:
        fast = with_begin(fast)
    fast.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder)


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(TEXTS | st.just(SPECIAL), max_size=4))
def test_the_pieces_of_a_text_join_to_it(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    ids, pieces = tokenizer.split(text)
    assert ids == tokenizer.encode(text)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text or not ids


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_pieces_of_tokens_join_to_their_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = tokenizer.encode(data.draw(TEXTS))
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=False)


@settings(deadline=None, max_examples=60)
@given(text=TEXTS)
def test_the_bytes_of_its_tokens_are_the_texts_bytes(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    # Sentencepiece puts a blank in front of a text.
    assert b"".join(map(tokenizer.token_bytes, ids)).removeprefix(b" ") == text.encode().removeprefix(b" ")


def test_special_tokens_are_their_name_and_unknown_ones_nothing(tokenizer: Tokenizer) -> None:
    special = tokenizer.encode(SPECIAL, add_special_tokens=False)
    assert b"".join(map(tokenizer.token_bytes, special)).removeprefix(b" ") == SPECIAL.encode()
    assert tokenizer.token_bytes(10**6) == b""


def test_a_character_belongs_to_the_last_of_its_tokens(models: Path) -> None:
    tokenizer = Tokenizer(models / "main")
    assert tokenizer.split("a日b")[1] == tokenizer.pieces(tokenizer.encode("a日b")) == ["a", "", "", "日", "b"]


def test_a_blank_that_offsets_leave_out_belongs_to_the_word_behind_it(tmp_path: Path) -> None:
    byte_level(trim_offsets=True).save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer(tmp_path).split("b ab")[1] == ["b", " a", "b"]
