from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llm_quantize.errors import EvaluationError, OutputError
from llm_quantize.performance import Performance, read_kernel_table
from llm_quantize.report import ModelResult, read_results, write_report

VOID = ("meta", "br", "line", "rect", "circle", "path")


@pytest.fixture
def results(make_result: Callable[..., ModelResult], make_record: Callable[..., Any]) -> list[ModelResult]:
    return [
        make_result("main", "full", size=4_000_000, token_seconds=0.004),
        make_result("main", "gptq-1", loss=0.02, size=1_000_000, token_seconds=0.002, record=make_record(1, bits=4)),
        make_result("main", "gptq-2", loss=0.025, size=1_000_000, record=make_record(2, bits=4)),
        make_result("main", "rtn2<b>", loss=1.5, misses=20, size=500_000),
        make_result("zoo", "full", size=400_000),
        make_result("zoo", "gptq-1", loss=0.01, size=100_000),
    ]


class Outline(HTMLParser):
    """Tags that are open, and addresses that the page asks for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_names_everything(results: list[ModelResult], tmp_path: Path) -> None:
    page = write_report(tmp_path, results, kernels=read_kernel_table()).read_text()
    outline = Outline(page)
    assert (outline.open, outline.links) == ([], [])
    assert "<script" not in page
    assert "url(" not in page
    assert "rtn2&lt;b&gt;" in page
    assert "<b>rtn2" not in page
    assert page.count("<svg") == 2 + 1 + 4 + 1 + 1  # sizes, a latency, two benchmarks a model, layers, calibration
    assert "gptq-1: few &lt;samples&gt;" in page
    assert "the client was late: main full at batch 1, main gptq-1 at batch 1" in page
    assert "NVIDIA H200" in page


def test_a_gpus_kernels_and_a_cpus_tokens_share_no_table(results: list[ModelResult], tmp_path: Path) -> None:
    page = write_report(tmp_path, results, kernels=read_kernel_table()).read_text()
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert [("w4a16_gemm" in one, "Tokens/s" in one) for one in tables if "w4a16_gemm" in one or "Tokens/s" in one] == [
        (False, True),
        (True, False),
    ]
    without = write_report(tmp_path, results).read_text()
    assert "w4a16_gemm" not in without


def test_two_machines_share_no_table_of_speeds(
    results: list[ModelResult], make_performance: Callable[..., Performance], tmp_path: Path
) -> None:
    results[1] = replace(results[1], performance=make_performance("gptq-1", 0.0001, device="NVIDIA H200"))
    page = write_report(tmp_path, results).read_text()
    speeds = [one for one in re.findall(r"<table.*?</table>", page, re.DOTALL) if "Tokens/s" in one]
    assert [("4 ms" in one, "0.1 ms" in one) for one in speeds] == [(True, False), (False, True)]
    assert "main: llm-engine on NVIDIA H200" in page
    assert not (tmp_path / "figures" / "main-latency.svg").exists()
    assert "as fast" not in (tmp_path / "report.md").read_text()


def test_the_tables_say_what_was_compared(results: list[ModelResult], tmp_path: Path) -> None:
    write_report(tmp_path, results)
    text = (tmp_path / "report.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "**+2.0%**<br>+" in text.split("###")[0]
    assert "rtn2\\<b\\>" in rows
    assert "p < 0.001" in rows["gptq-1"] or "p \\< 0.001" in rows["gptq-1"]
    assert text.startswith("## Quantization report\n\n**Use gptq-1: the smallest that is shown to lose less than 5%")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({re.sub(r"\\\|", "", line).count("|") for line in table.splitlines()}) == 1


def test_every_picture_is_a_file_of_its_own(results: list[ModelResult], tmp_path: Path) -> None:
    write_report(tmp_path, results)
    files = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert files == [
        "main-gptq-1-calibration.svg",
        "main-latency.svg",
        "main-lines.svg",
        "main-outputs.svg",
        "main-perplexity.svg",
        "main-size.svg",
        "zoo-lines.svg",
        "zoo-perplexity.svg",
        "zoo-size.svg",
    ]
    for file in files:
        root = ElementTree.fromstring((tmp_path / "figures" / file).read_text())
        used = {name for one in root.iter() for name in (one.get("class") or "").split()}
        style = root.find("{http://www.w3.org/2000/svg}style")
        assert style is not None
        assert style.text is not None
        assert all(f".{name}" in style.text for name in used), used


def test_errors_of_weights_and_of_outputs_share_no_picture(results: list[ModelResult], tmp_path: Path) -> None:
    layers = [{"name": "model.layers.0.mlp", "relative_error": 0.1, "error_of": "weights"}]
    results[3] = replace(results[3], record={"layers": layers})
    write_report(tmp_path, results)
    drawn = [(tmp_path / "figures" / f"main-{kind}.svg").read_text() for kind in ("outputs", "weights")]
    assert [text.count('class="thin ') for text in drawn] == [1, 1]


def test_a_loss_beyond_the_picture_is_an_arrow_with_its_value(results: list[ModelResult], tmp_path: Path) -> None:
    write_report(tmp_path, results)
    drawn = (tmp_path / "figures" / "main-size.svg").read_text()
    assert "rtn2&lt;b&gt; +3" in drawn  # exp(1.5) - 1 = 348%
    assert "↑" in drawn
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert max(heights) - min(heights) > 20  # the others are not flattened


def test_results_are_read_from_folders(results: list[ModelResult], tmp_path: Path) -> None:
    for one in results[:2]:
        folder = tmp_path / one.model / one.method
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(one.evaluation.to_json())
        if one.record:
            (folder / "quantization.json").write_text(json.dumps(one.record))
        assert one.performance is not None
        (folder / "performance.json").write_text(one.performance.to_json())
    assert read_results(tmp_path) == results[:2]

    (tmp_path / "main" / "gptq-1" / "quantization.json").write_text("{")
    with pytest.raises(EvaluationError, match="gptq-1: "):
        read_results(tmp_path)
    with pytest.raises(EvaluationError, match=r"has no results: expected MODEL/METHOD/evaluation\.json"):
        read_results(tmp_path / "main")


def test_a_folder_that_cannot_be_written_is_said(results: list[ModelResult], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"page\.html cannot be written"):
        write_report(tmp_path / "file", results)
