"""The command line, without a GPU."""

import json
from pathlib import Path

import pytest
import torch

from llm_kernels.bench import report
from llm_kernels.bench.roofline import roofline
from llm_kernels.cli import main
from llm_kernels.profile import parse

WITHOUT_GPU = pytest.mark.parametrize("command", ["bench", "ladder", "tune", "profile gemm"])


def test_lists_every_op(capsys):
    assert main(["ops"]) == 0
    assert "flash_attention        cuda > triton > reference" in capsys.readouterr().out


def test_explains_which_implementation_runs(capsys, monkeypatch):
    monkeypatch.delenv("LLM_KERNELS_IMPL", raising=False)
    assert main(["explain", "rms_norm", "--shape", "8192x4096"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("rms_norm  8192x4096  bf16")
    assert "reference" in out


def test_an_unknown_shape_lists_the_known_ones(capsys):
    assert main(["explain", "rms_norm", "--shape", "7x7x7"]) == 1
    assert "8192x4096" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("--jobs=0", "number above 0"), ("--jobs=-1", "number above 0"), ("--out=/no/folder/here.json", "/no/folder")],
)
def test_compile_refuses_before_it_compiles(wrong, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compile", wrong])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_checks_a_file(capsys):
    wrong = Path(__file__).parent / "wrong" / "wrong_dtype.py"
    assert main(["check", str(wrong), "--seed", "4"]) == 1
    assert "rejected on" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["slow.py", "solution/solution.py"])
def test_the_challenge_and_its_solution_pass_the_checker(name, capsys):
    assert main(["check", str(Path(__file__).parents[1] / "challenge" / name), "--seed", "4"]) == 0


@WITHOUT_GPU
def test_what_measures_asks_for_a_gpu(command, capsys):
    assert torch.cuda.is_available() or main(command.split()) == 1


ROW = {
    "op": "softmax", "implementation": "triton", "shape": "8x8", "dtype": "bf16", "seconds": 2e-5, "spread": 0.01,
    "fraction_of_limit": 0.9, "ratio_to_library": 1.25, "library": "torch", "error": 1e-3, "wrong": None,
}  # fmt: skip


def test_the_table_shows_figures_or_what_is_wrong():
    lines = report.table([ROW, ROW | {"seconds": None, "ratio_to_library": None, "wrong": "NaN"}]).splitlines()
    assert lines[1].split() == [
        "softmax",
        "triton",
        "8x8",
        "bf16",
        "20.0",
        "us",
        "±1%",
        "90%",
        "1.25x",
        "torch",
        "1.0e-03",
    ]
    assert lines[2].endswith("NaN")


def test_the_roofline_is_a_picture_of_its_points():
    svg = roofline([("gemm", 100.0, 1e14), ("nothing", 0.0, 0.0)], 4e12, 7e14)
    assert svg.count("<circle") == 1
    assert ">gemm</text>" in svg


def test_reads_ncus_csv():
    output = "==PROF== something\n" + "\n".join(
        ['"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"',
         '"0","softmax_kernel","GPU Speed Of Light Throughput","Duration","us","31.2"',
         '"0","softmax_kernel","Command line profiler metrics","dram__bytes_read.sum","Mbyte","67.1"']
    )  # fmt: skip
    (profile,) = parse(output)
    assert profile.kernel == "softmax_kernel"
    assert profile.summary().splitlines()[1].split() == ["Duration", "31.2", "us"]
    assert "67.1 Mbyte" in profile.summary()


def test_the_leaderboard_is_a_list():
    assert isinstance(json.loads((Path(__file__).parents[1] / "challenge" / "leaderboard.json").read_text()), list)
