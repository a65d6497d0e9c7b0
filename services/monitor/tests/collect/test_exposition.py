"""The reader is compared with Prometheus's own parser for Python, and its fast path with its slow one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from llm_monitor.collect.exposition import MAX_LINES, PageTooLong, Reader, read_value
from llm_monitor.series import Labels, Page, labels_of

NONE: dict[str, str] = {}


def read(text: str | bytes, labels: dict[str, str] = NONE, **options: int) -> dict[Labels, float]:
    return samples(Reader(labels, **options).read(text if isinstance(text, bytes) else text.encode()))


def samples(page: Page) -> dict[Labels, float]:
    return dict(zip(page.layout.labels, page.values.tolist(), strict=True))


def series(name: str, **labels: str) -> Labels:
    return labels_of({"__name__": name, **labels})


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("x 1", series("x"), 1),
        ("x\t 1.5e3 ", series("x"), 1500),
        ("x 1 1700000000000", series("x"), 1),
        ("x -Inf", series("x"), -math.inf),
        ("x +Inf\r", series("x"), math.inf),
        ("x{} 2", series("x"), 2),
        ('x{a="b",} 2', series("x", a="b"), 2),
        ('x{ a = "b" , c="d" } 2', series("x", a="b", c="d"), 2),
        ('x {a="}{,= #"}2', series("x", a="}{,= #"), 2),
        (r'x{a="\\n \"q\" \n \t"} 2', series("x", a='\\n "q" \n \\t'), 2),
        ('x{a=""} 2', series("x"), 2),
        ('x{a="é"} 2', series("x", a="é"), 2),
        ('vllm:x_bucket{le="+Inf"} 7 # {trace_id="a b"} 0.5 1700000000.1', series("vllm:x_bucket", le="+Inf"), 7),
        ('x_total 7 1700000000.1 # {trace_id="ab"} 0.5', series("x_total"), 7),
        ("vllm_num_requests_running 3", series("vllm:num_requests_running"), 3),
    ],
)
def test_a_sample(line: str, labels: Labels, value: float) -> None:
    assert read(line) == {labels: value}
    assert read(f"# HELP x y\n\n{line}\n# EOF\n") == {labels: value}


@pytest.mark.parametrize(
    "line",
    [
        "x", "x ", "x y", "x 1_000", "x 1 2 3", "x 1 NaN", "x 1 y", "1x 1", "{} 1", 'x{a="b" 1', 'x{a="b} 1',
        "x{a=b} 1", 'x{a="b"c="d"} 1', 'x{a="b",a="c"} 1', 'x{,} 1', 'x{1a="b"} 1', "<html>", "x 1\x00",
        "x {} {} 1", '{"x"} 1',
        "x{" + 'a="b",' * 5000 + "} 1",
    ],
)  # fmt: skip
def test_garbage_is_counted_and_the_rest_is_read(line: str) -> None:
    page = Reader(NONE).read(f"good 1\n{line}\nalso_good 2\n".encode())
    assert samples(page) == {series("good"): 1, series("also_good"): 2}
    assert page.layout.garbage == 1


def test_bytes_that_are_no_text_are_garbage_or_replaced() -> None:
    page = Reader(NONE).read(b'\xff\xfe 1\nx{a="\xff"} 2\n')
    assert samples(page) == {series("x", a="\N{REPLACEMENT CHARACTER}"): 2}
    assert page.layout.garbage == 1


def test_the_first_of_two_equal_series_counts() -> None:
    reader = Reader(NONE)
    assert samples(reader.read(b'x{a="1",b="2"} 1\nx{b="2",a="1"} 2\n')) == {series("x", a="1", b="2"): 1}
    layout = reader.read(b'x{a="1",b="2"} 3\nx{b="2",a="1"} 4\n').layout
    assert layout is reader.read(b'x{a="1",b="2"} 5\nx{b="2",a="1"} 6\n').layout, "the second one's changes are ignored"


def test_labels_of_the_target_win_and_the_page_keeps_its_own_under_another_name() -> None:
    found = read('x{job="own",model="m"} 1', {"job": "engine", "instance": "a:1"})
    assert found == {series("x", job="engine", instance="a:1", exported_job="own", model="m"): 1}


def test_series_over_the_limit_are_counted() -> None:
    reader = Reader(NONE, max_series=2)
    page = reader.read(b"a 1\nb 2\n# c\nc 3\nd 4\n")
    assert samples(page) == {series("a"): 1, series("b"): 2}
    assert page.layout.dropped == 2
    again = reader.read(b"a 5\nb 2\n# c\nc 9\nd 9\n")
    assert samples(again) == {series("a"): 5, series("b"): 2}
    assert again.layout is page.layout


def test_a_page_of_too_many_lines_is_refused() -> None:
    with pytest.raises(PageTooLong):
        Reader(NONE).read(b"\n" * MAX_LINES)


def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    Counter("vllm:requests", "Help of\nrequests.", ["a"], registry=found).labels("x").inc(3)
    Histogram("vllm:seconds", "h", registry=found).observe(0.3, {"trace_id": "abc"})
    Gauge("pod_created", "A gauge of that name.", registry=found).set(5)
    return found


def test_creation_times_are_left_out_and_a_gauge_of_that_name_is_not() -> None:
    for text in (generate_latest(registry()), generate_openmetrics(registry())):
        names = {dict(labels)["__name__"] for labels in read(text)}
        assert names == {
            "vllm:requests_total",
            "vllm:seconds_bucket",
            "vllm:seconds_count",
            "vllm:seconds_sum",
            "pod_created",
        }


def test_both_formats_of_one_registry_read_the_same() -> None:
    assert read(generate_latest(registry())) == read(generate_openmetrics(registry()))


def test_kind_and_help_are_kept() -> None:
    metadata = Reader(NONE).read(generate_latest(registry())).layout.metadata
    assert metadata["vllm:requests_total"] == ("counter", "Help of\nrequests.")
    assert metadata["vllm:seconds"].kind == "histogram"


def test_a_page_whose_numbers_changed_has_the_same_layout() -> None:
    reader = Reader(NONE)
    first = reader.read(b'# TYPE x counter\nx{a="b"} 1\ny NaN\n').layout
    second = reader.read(b'# TYPE x counter\nx{a="b"} 2 # {} 1\ny 3 123\n')
    assert second.layout is first
    assert second.values.tolist() == [2, 3]
    assert math.isnan(reader.read(b'# TYPE x counter\nx{a="b"} 2\ny NaN\n').values[1])


def test_a_label_that_changed_is_no_number_that_changed() -> None:
    reader = Reader(NONE)
    reader.read(b'x{a="1"} 1\ny 1\n')
    assert samples(reader.read(b'x{a="12"} 1\ny 1\n')) == {series("x", a="12"): 1, series("y"): 1}
    assert samples(reader.read(b'x{a="12"} 1\ny {a="b"} 1\n')) == {series("x", a="12"): 1, series("y", a="b"): 1}
    assert samples(reader.read(b'x{a="12"} zero\ny {a="b"} 1\n')) == {series("y", a="b"): 1}


METRIC = st.from_regex(r"\A[a-z_:][a-z0-9_:]{0,6}\Z").filter(lambda name: not name.endswith("_created"))
LABEL = st.from_regex(r"\A[a-zA-Z][a-zA-Z0-9_]{0,4}\Z")
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n", exclude_categories=["Cs", "Zl", "Zp", "Cc"]), max_size=8
)
VALUE = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(["NaN", "+Inf", "-Inf", "0", "1e3", "-2.5E-3", "17"]),
    st.integers(-(2**60), 2**60).map(str),
)


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@st.composite
def line(draw: st.DrawFn) -> str:
    labels = draw(st.dictionaries(LABEL, st.one_of(TEXT, st.just("a\nb"), st.just('q"'))))
    body = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    braces = f"{{{body}}}" if labels or draw(st.booleans()) else ""
    return f"{draw(METRIC)}{braces} {draw(VALUE)}"


@given(st.lists(line(), max_size=12))
def test_any_valid_page_reads_as_prometheus_reads_it(lines: list[str]) -> None:
    text = "".join(f"{one}\n" for one in lines)
    expected: dict[Labels, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = f"vllm:{sample.name[5:]}" if sample.name.startswith("vllm_") else sample.name
            expected.setdefault(labels_of({**sample.labels, "__name__": name}), float(sample.value))
    assert repr(sorted(read(text).items())) == repr(sorted(expected.items()))


ANY_LINE = st.one_of(
    line(),
    st.sampled_from(
        ["# TYPE x counter", "# TYPE x gauge", "x_created 5", "x_total 1", "x_total 2", "", "# HELP x", "x y", "}"]
    ),
    st.text(max_size=10).filter(lambda text: "\n" not in text),
)


@given(st.lists(st.lists(ANY_LINE, max_size=6), max_size=8), st.data())
def test_the_fast_path_reads_what_a_new_reader_reads(pages: list[list[str]], data: st.DataObject) -> None:
    reader = Reader({"job": "j"}, max_series=4)
    last: list[str] = []
    for page in pages:
        if last and data.draw(st.booleans()):  # the same lines, with other numbers
            page = [
                f"{one.rpartition(' ')[0]} {data.draw(VALUE)}" if " " in one and data.draw(st.booleans()) else one
                for one in last
            ]
        text = "\n".join(page).encode()
        fresh, known = Reader({"job": "j"}, max_series=4).read(text), reader.read(text)
        assert repr(samples(known)) == repr(samples(fresh))
        assert (known.layout.dropped, known.layout.garbage) == (fresh.layout.dropped, fresh.layout.garbage)
        last = page


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_make_it_fail(first: bytes, second: bytes) -> None:
    reader = Reader(NONE)
    reader.read(first)
    assert repr(samples(reader.read(second))) == repr(read(second))


def test_read_value_wants_a_number_first() -> None:
    assert read_value(b"1 # 2 3 4") == 1
    assert read_value(b"# 1") is None
    assert read_value(b"") is None
