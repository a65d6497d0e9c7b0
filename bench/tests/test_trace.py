from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.errors import ScenarioError
from llm_bench.trace import TraceRow, read_trace

Write = Callable[[str], Path]

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 23:59:59.9000000,4808,10
2023-11-17 00:00:00.1500000,3180,8
2023-11-17 00:01:00,110,27
"""
BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,230,1317,API log
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
        path.write_text(text)
        read_trace.cache_clear()
        return path

    return write


def rows(path: Path) -> list[tuple[float, int, int]]:
    return [(round(row.at, 6), row.prompt_tokens, row.output_tokens) for row in read_trace(path).rows]


def test_azure(trace: Write) -> None:
    assert rows(trace(AZURE)) == [(0.0, 4808, 10), (0.25, 3180, 8), (60.1, 110, 27)]


def test_burst_gpt(trace: Write) -> None:
    assert rows(trace(BURST_GPT)) == [(0.0, 472, 18), (40.0, 1087, 230)]


def test_mooncake_with_its_prefix_blocks(trace: Write) -> None:
    path = trace(MOONCAKE)

    assert rows(path) == [(0.0, 6955, 52), (0.0, 100, 26), (3.053, 6472, 26)]
    assert [row.blocks for row in read_trace(path).rows] == [(46, 47, 2353), (46,), ()]


def test_our_own_lines_come_in_order_of_time(trace: Write) -> None:
    assert list(read_trace(trace(OURS)).rows) == [TraceRow(0.0, 9, 1), TraceRow(0.5, 7, 3, "chat")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (AZURE + "yesterday,1,1\n", 5, "Invalid isoformat"),
        (AZURE + "2023-11-17 00:01:00,110\n", 5, "2 columns where the header has 3"),
        (BURST_GPT.replace(",18,", ",0,"), 2, "token counts must be at least 1, not 472 and 0"),
        (MOONCAKE.replace('"input_length": 100, ', ""), 2, "'input_length' is missing"),
        (OURS + "[1]\n", 3, "is not a JSON object"),
        (OURS + "{\n", 3, "unexpected end of data"),
        (OURS.replace("10.5", "1e999"), 1, "finite|Infinity|out of range|number"),
        (OURS.replace("10.0", "-1"), 2, "not below 0"),
    ],
)
def test_a_bad_row_is_named_by_its_line_or_skipped_and_counted(trace: Write, text: str, line: int, what: str) -> None:
    path = trace(text)

    with pytest.raises(ScenarioError, match=rf"trace:{line}: .*({what}).*--skip-bad-rows"):
        read_trace(path)
    assert read_trace(path, skip_bad_rows=True).skipped == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a,b\n1,2\n", "no trace that is known"),
        ("", "no trace that is known"),
        (AZURE.splitlines(keepends=True)[0], "holds no request"),
    ],
)
def test_what_is_no_trace_is_refused(trace: Write, text: str, what: str) -> None:
    with pytest.raises(ScenarioError, match=what):
        read_trace(trace(text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"gone\.csv: the trace cannot be read"):
        read_trace(tmp_path / "gone.csv")


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

    trace = read_trace(path, skip_bad_rows=True)

    first = min(at for at, _, _ in given_rows)
    assert sorted((row.prompt_tokens, row.output_tokens) for row in trace.rows) == sorted(r[1:] for r in given_rows)
    assert [row.at for row in trace.rows] == sorted(at - first for at, _, _ in given_rows)
