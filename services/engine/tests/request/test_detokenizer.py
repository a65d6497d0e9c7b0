from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.request.detokenizer import REPLACEMENT, Detokenizer, StopStrings


def decode_bytes(token_ids: list[int]) -> str:
    """The smallest byte-level tokenizer: a token is a byte."""
    return bytes(token_ids).decode("utf-8", errors="replace")


def pieces(
    token_ids: list[int], stops: tuple[str, ...] = (), prompt: list[int] | None = None, late: bool = False
) -> tuple[list[str], bool]:
    """Return the pieces token by token, the rest at the end, and whether a stop string was found."""
    detokenizer = Detokenizer(decode_bytes, prompt or [], stops, late=late)
    said = []
    for token in token_ids:
        text, stopped = detokenizer.push(token)
        said.append(text)
        if stopped:
            return said, True
    return [*said, detokenizer.flush()], False


@settings(deadline=None)
@given(st.text(), st.text(max_size=3))
def test_the_pieces_are_the_text_and_no_piece_has_half_a_character(text: str, prompt: str) -> None:
    said, _ = pieces(list(text.encode()), prompt=list(prompt.encode()))
    assert "".join(said) == text
    assert REPLACEMENT in text or not any(REPLACEMENT in piece for piece in said)


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), max_size=30), st.lists(st.integers(0, 255), max_size=9))
def test_text_that_is_made_at_the_end_is_the_same(token_ids: list[int], prompt: list[int]) -> None:
    said, _ = pieces(token_ids, prompt=prompt, late=True)
    assert not any(said[:-1])
    assert said[-1] == "".join(pieces(token_ids, prompt=prompt)[0])


def test_a_stop_string_is_found_when_it_comes_however_late_the_text_is_wanted() -> None:
    assert pieces(list(b"abcd"), stops=("bc",), late=True) == pieces(list(b"abcd"), stops=("bc",))


def test_a_character_comes_with_its_last_byte() -> None:
    assert pieces(list("a日b".encode()))[0] == ["a", "", "", "日", "b", ""]


def test_what_never_becomes_a_character_is_replaced_at_the_end() -> None:
    said, _ = pieces([ord("a"), 0xE6, 0x97])
    assert said == ["a", "", "", REPLACEMENT]


def test_tokens_without_text_do_not_count_as_parts_of_a_character() -> None:
    def decode(token_ids: list[int]) -> str:  # 256 is a special token, which is not shown
        return decode_bytes([token for token in token_ids if token < 256])

    detokenizer = Detokenizer(decode, [], ())
    assert [detokenizer.push(token)[0] for token in [256, *"😀".encode()]] == ["", "", "", "", "😀"]


def test_broken_bytes_do_not_hold_the_text_back_for_ever() -> None:
    said, _ = pieces([0xFF] * 20)
    assert sum(map(len, said[:10])) > 0
    assert "".join(said) == REPLACEMENT * 20


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), max_size=30))
def test_any_bytes_give_what_decoding_at_once_gives(token_ids: list[int]) -> None:
    assert len("".join(pieces(token_ids)[0])) == pytest.approx(len(decode_bytes(token_ids)), abs=len(token_ids))
    valid = all(token < 128 for token in token_ids)
    assert not valid or "".join(pieces(token_ids)[0]) == decode_bytes(token_ids)


def test_a_stop_string_that_spans_tokens_is_held_back_and_cut() -> None:
    said, stopped = pieces(list(b"one</s>two"), ("</s>",))
    assert stopped
    assert said == ["o", "n", "e", "", "", "", ""]


def test_a_false_start_of_a_stop_string_goes_out_when_it_is_clear() -> None:
    said, stopped = pieces(list(b"a<b"), ("</s>",))
    assert not stopped
    assert said == ["a", "", "<b", ""]


def test_text_held_back_goes_out_at_the_end() -> None:
    said, stopped = pieces(list(b"a</"), ("</s>",))
    assert not stopped
    assert "".join(said) == "a</"


def test_the_earliest_of_several_stop_strings_wins() -> None:
    stops = StopStrings(("cd", "b"))
    assert stops.push("abcd") == ("a", True)


@settings(deadline=None)
@given(
    text=st.text("ab<", max_size=30),
    stops=st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(1, 4), min_size=30, max_size=30),
)
def test_stop_strings_cut_where_a_search_of_the_whole_text_cuts(text: str, stops: list[str], cuts: list[int]) -> None:
    finder, said, position = StopStrings(stops), "", 0
    for size in cuts:
        out, stopped = finder.push(text[position : position + size])
        said, position = said + out, position + size
        if stopped:
            break
    else:
        said += finder.flush()
    shown = text[:position]
    found = [index for stop in stops if (index := shown.find(stop)) >= 0]
    assert said == (shown[: min(found)] if found else shown)


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_the_shipped_tokenizer_round_trips(text: str) -> None:
    tokenizer = _shipped()
    ids = tokenizer.encode(text, add_special_tokens=False)
    detokenizer = Detokenizer(tokenizer.decode, [], ())
    said = "".join(detokenizer.push(token)[0] for token in ids) + detokenizer.flush()
    assert said == tokenizer.decode(ids)


_cache: dict[str, object] = {}


@settings(deadline=None)
@given(
    token_ids=st.lists(st.integers(0, 255) | st.sampled_from(list("日<a😀".encode())), max_size=30),
    stops=st.lists(st.text("<a日", min_size=1, max_size=3), max_size=2),
    include_stop=st.booleans(),
    late=st.booleans(),
)
def test_the_text_is_a_beginning_of_the_tokens_pieces(
    token_ids: list[int], stops: list[str], include_stop: bool, late: bool
) -> None:
    detokenizer = Detokenizer(decode_bytes, [], stops, include_stop=include_stop, late=late, keep_pieces=True)
    text, stopped = "", False
    for token in token_ids:
        out, stopped = detokenizer.push(token)
        text += out
        if stopped:
            break
    if not stopped:
        text += detokenizer.flush()
    joined = "".join(detokenizer.pieces or ())
    assert joined.startswith(text)
    assert stopped or joined == text


def _shipped():  # type: ignore[no-untyped-def]
    from llm_engine.checkpoint.tokenizer import Tokenizer

    if "tokenizer" not in _cache:
        _cache["tokenizer"] = Tokenizer(_models() / "main")
    return _cache["tokenizer"]


def _models() -> Path:
    for folder in (*Path(__file__).resolve().parents, Path.cwd(), *Path.cwd().parents):
        if (folder / "models" / "main").is_dir():
            return folder / "models"
    raise FileNotFoundError("models")
