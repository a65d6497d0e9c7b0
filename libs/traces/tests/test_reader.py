import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_traces import BadRowError, RequestTrace, TraceError, TraceRow, read_trace

Write = Callable[[str], Path]

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 23:59:59.9000000,4808,10
2023-11-17 00:00:00.1500000,3180,8
2023-11-17 00:01:00,110,27
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 05:30:00.259930+05:30,2399,6
2024-05-09 19:00:01-05:00,76,15
2024-05-10T00:00:02Z,8,9
"""
BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,230,1317,API log
"""
BURST_GPT_SESSIONS = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,a,1.2,ChatGPT,472,18,490,Conversation log
45.5,b,0.1,ChatGPT,1087,0,1087,Conversation log
118,a,2.2,GPT-4,417,276,693,API log
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}
{"timestamp": 27482, "input_length": 100, "output_length": 26, "hash_ids": [46]}

{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": []}
"""
OURS = """{"at": 10.5, "prompt_tokens": 7, "output_tokens": 3, "class": "chat"}
{"at": 10.0, "prompt_tokens": 9, "output_tokens": 1}
"""


@pytest.fixture
def trace(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "trace"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def rows(trace: RequestTrace) -> list[tuple[float, int, int]]:
    return [(row.at, row.prompt_tokens, row.output_tokens) for row in trace.rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AZURE, [(0.0, 4808, 10), (0.25, 3180, 8), (60.1, 110, 27)]),
        (AZURE_2024, [(0.0, 2162, 5), (0.25, 2399, 6), (0.99007, 76, 15), (1.99007, 8, 9)]),
        (BURST_GPT, [(0.0, 472, 18), (40.0, 1087, 230)]),
        (BURST_GPT.replace("472,", "472.0,"), [(0.0, 472, 18), (40.0, 1087, 230)]),
        (BURST_GPT_SESSIONS, [(0.0, 472, 18), (113.0, 417, 276)]),
        (MOONCAKE, [(0.0, 6955, 52), (0.0, 100, 26), (3.053, 6472, 26)]),
        (OURS, [(0.0, 9, 1), (0.5, 7, 3)]),
    ],
)
def test_formats(trace: Write, text: str, expected: list[tuple[float, int, int]]) -> None:
    assert rows(read_trace(trace(text))) == expected


@pytest.mark.parametrize(
    ("fields", "blocks"),
    [
        ({"hash_ids": [46, 47]}, (46, 47)),
        ({"hash_ids": []}, ()),
        ({"hash_ids": None}, ()),
        ({}, ()),
        ({"session_id": "s", "delay": 3, "text_input": "…"}, ()),
    ],
)
def test_mooncakes_optional_fields(trace: Write, fields: dict[str, object], blocks: tuple[int, ...]) -> None:
    line = json.dumps({"timestamp": 1, "input_length": 5, "output_length": 2, **fields})

    assert read_trace(trace(line)).rows == (TraceRow(0.0, 5, 2, None, blocks),)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_result_of_the_bench_brings_its_classes_and_offers_what_was_turned_away_again(
    trace: Write, indent: int | None
) -> None:
    record = {"scheduled_at": 1.5, "class_name": "batch", "max_tokens": 40, "prompt_tokens": 7, "outcome": "ok"}
    rejected = {**record, "scheduled_at": 2.0, "output_tokens": 0, "outcome": "rejected"}
    never_due = {**record, "scheduled_at": 0.1, "output_tokens": 0, "outcome": "not_sent", "follows": 1}
    text = json.dumps({"requests": [{**record, "output_tokens": 31}, rejected, never_due]}, indent=indent)

    assert read_trace(trace(text)).rows == (
        TraceRow(0.0, 7, 31, "batch", max_tokens=40),
        TraceRow(0.5, 7, 40, "batch", max_tokens=40),
    )


@pytest.mark.parametrize(
    ("text", "empty"),
    [
        (BURST_GPT_SESSIONS, 1),
        (AZURE.replace(",4808,10", ",4808,0"), 1),
        (AZURE.replace(",4808,10", ",0,10").replace(",3180,8", ",0,0"), 2),
        (MOONCAKE.replace('"output_length": 52', '"output_length": 0'), 1),
        (OURS.replace('"prompt_tokens": 9', '"prompt_tokens": 0'), 1),
        (OURS, 0),
    ],
)
def test_rows_with_0_tokens_are_left_out_and_counted_in_every_format(trace: Write, text: str, empty: int) -> None:
    read = read_trace(trace(text))

    assert read.empty == empty
    assert read.rows[0].at == 0.0  # of the first that is left
    if empty:
        assert f"{empty} of the trace's {len(read.rows) + empty} rows have 0 tokens" in (read.notice or "")
    else:
        assert read.notice is None


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (AZURE + "yesterday,1,1\n", 5, "'yesterday' is not a time such as"),
        (AZURE + "\n\n2023-11-17 00:01:00,110\n", 7, "2 columns where the header has 3"),
        ("\n" + AZURE + "2023-11-17 00:01:00,x,1\n", 6, "could not convert"),
        (AZURE.replace(",10", ",-1"), 2, "must be a whole number and not below 0, not '-1'"),
        (AZURE.replace(",10", ",nan"), 2, "must be a whole number"),
        (BURST_GPT.replace(",18,", ",1.5,"), 2, "must be a whole number"),
        (BURST_GPT.replace("45,", "inf,"), 3, "must be finite and not below 0, not inf"),
        (BURST_GPT.replace("45,", ",", 1), 3, "could not convert"),
        (MOONCAKE.replace('"input_length": 100, ', ""), 2, "'input_length' is missing"),
        (MOONCAKE.replace('"timestamp": 30535, ', ""), 4, "'timestamp' is missing"),
        (MOONCAKE.replace("[46]", '["a"]'), 2, "hash_ids must be a list of whole numbers"),
        (OURS + "[1]\n", 3, "is not a JSON object"),
        (OURS + "{\n", 3, "unexpected end of data"),
        (OURS.replace("10.5", "1e999"), 1, "finite|Infinity|out of range|number"),
        (OURS.replace("10.5", "true"), 1, "a time must be a number"),
        (OURS.replace("10.0", "-1"), 2, "not below 0"),
        (OURS.replace('"output_tokens": 3', '"output_tokens": null'), 1, "NoneType"),
        ('{"at": 1, "prompt_tokens": 1, "output_tokens": 1}\n{"requests": []}', 2, "'at' is missing"),
    ],
)
def test_a_bad_row_is_named_by_its_line_or_skipped_and_counted(trace: Write, text: str, line: int, what: str) -> None:
    path = trace(text)

    with pytest.raises(BadRowError, match=rf"trace:{line}: .*({what})"):
        read_trace(path)
    assert read_trace(path, skip_bad_rows=True).skipped == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a,b\n1,2\n", "trace:1: is no trace that is known, it begins 'a,b"),
        ("", "no trace that is known"),
        ("\n \n", "no trace that is known"),
        ("[1]", "no trace that is known"),
        (AZURE.splitlines(keepends=True)[0], "holds no request"),
        (AZURE.splitlines(keepends=True)[0] + "2023-11-17 00:00:00,1,0\n", "holds no request; 1 rows have 0 tokens"),
        ('{"requests": []}', "holds no request"),
        ('{"requests": [{}]}', "trace:1: 'max_tokens' is missing"),
        ('{"requests": [7]}', "trace:1: "),
        ('{\n"runs": []\n}', "trace:1: "),
    ],
)
def test_what_is_no_trace_is_refused(trace: Write, text: str, what: str) -> None:
    with pytest.raises(TraceError, match=what):
        read_trace(trace(text))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(AZURE.encode())[:-20], "cannot be read"),
        (gzip.compress(AZURE.encode())[:12] + b"\xff" * 40, "cannot be read"),
        (b"\xff\xfe" + AZURE.encode("utf-16-le"), "cannot be read"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n\xff,1,1\n", "cannot be read"),
    ],
)
def test_what_cannot_be_unpacked_or_decoded_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "t.gz"
    path.write_bytes(data)

    with pytest.raises(TraceError, match=what):
        read_trace(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(TraceError, match=rf"{path.name}: the trace cannot be read"):
            read_trace(path)


def test_a_first_line_of_one_brace_is_a_bad_row_like_any_other(trace: Write) -> None:
    read = read_trace(trace("{\n" + OURS), skip_bad_rows=True)

    assert (rows(read), read.skipped) == ([(0.0, 9, 1), (0.5, 7, 3)], 1)


@given(
    text=st.sampled_from([AZURE, AZURE_2024, BURST_GPT, BURST_GPT_SESSIONS, MOONCAKE, OURS]),
    packed=st.booleans(),
    mark=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    blank=st.sampled_from(["", " ", "\t"]),
    data=st.data(),
)
def test_packing_and_the_order_of_rows_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    text: str,
    packed: bool,
    mark: bool,
    ending: str,
    blank: str,
    data: st.DataObject,
) -> None:
    plain = tmp_path_factory.mktemp("trace") / "plain"
    plain.write_text(text)
    lines = [line for line in text.splitlines() if line]
    head, body = ([], lines) if text.startswith("{") else (lines[:1], lines[1:])
    shuffled = [*head, *data.draw(st.permutations(body))]
    for place in data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)):
        shuffled.insert(place, blank)
    content = ("\ufeff" * mark + ending.join(shuffled)).encode()
    other = plain.with_name("other.gz" if packed else "other")
    other.write_bytes(gzip.compress(content) if packed else content)

    one, two = read_trace(plain), read_trace(other)

    assert (sorted(map(repr, two.rows)), two.empty) == (sorted(map(repr, one.rows)), one.empty)
    assert [row.at for row in two.rows] == sorted(row.at for row in two.rows)


@given(
    given_rows=st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1),
    junk=st.lists(st.binary(max_size=20).filter(lambda data: data.strip() and b"\n" not in data and b"\r" not in data)),
)
def test_good_rows_survive_any_junk_between_them(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[float, int, int]], junk: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    good = [orjson.dumps({"at": at, "prompt_tokens": p, "output_tokens": o}) for at, p, o in given_rows]
    readable = [line for line in junk if line.decode("utf-8", "replace").encode() == line]
    path.write_bytes(b"\n".join([*good, *(b"!" + line for line in readable)]))

    read = read_trace(path, skip_bad_rows=True)

    first = min(at for at, _, _ in given_rows)
    assert sorted((row.prompt_tokens, row.output_tokens) for row in read.rows) == sorted(r[1:] for r in given_rows)
    assert [row.at for row in read.rows] == pytest.approx(sorted(at - first for at, _, _ in given_rows), abs=2e-9)


JUNK = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([AZURE.encode(), b"{", b"\n", b'"', b"\0"])), max_size=6
)


@given(JUNK, st.booleans(), st.booleans())
def test_any_bytes_are_a_trace_or_a_trace_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], skip: bool, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("trace") / "t"
    path.write_bytes(gzip.compress(b"".join(parts)) if packed else b"".join(parts))
    with contextlib.suppress(TraceError):  # nothing else
        assert read_trace(path, skip_bad_rows=skip).rows
