"""models/train.py from a folder of source to a shipped folder, on a tiny corpus and the CPU."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_train.corpus import SourceFile, collect, heldout_text, split_of
from llm_train.curve import loss_curve
from llm_train.prepare import prepare
from llm_train.ship import train_and_ship

MODELS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty small modules: enough for every split and for 4,096 tokens."""
    folder = tmp_path_factory.mktemp("source")
    rng = random.Random(0)
    for index in range(80):
        names = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 9))) for _ in range(120)]
        body = "".join(f"def {name}(value):\n    return value + {rng.randint(0, 999)}\n\n\n" for name in names)
        (folder / f"module_{index}.py").write_text(f'"""Module {index}."""\n\n{body}', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(source, folder)
    return folder


def test_command_line_prepares_and_trains_a_model(source: Path, tmp_path: Path) -> None:
    data, out = str(tmp_path / "data"), str(tmp_path / "draft")
    run_train_py("prepare", "--source", str(source), "--out", data)
    run_train_py(
        "train", "draft", "--data", data, "--out", out, "--steps", "2", "--tokens-per-step", "512", "--device", "cpu"
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "draft")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "draft")
    results = json.loads((tmp_path / "draft" / "training.json").read_text(encoding="utf-8"))
    assert model.dtype == torch.bfloat16
    assert tokenizer.decode(tokenizer("def é漢")["input_ids"]) == "def é漢"
    assert [point["step"] for point in results["curve"]] == [1, 2]
    assert 1 < results["test"]["perplexity"] < 2 * 4096
    assert f"{results['test']['perplexity']:.2f}" in (tmp_path / "draft" / "README.md").read_text(encoding="utf-8")


def test_unknown_preset_names_the_presets(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no preset 'gpt'; there are main, draft, llama"):
        train_and_ship("gpt", data, tmp_path, steps=2, tokens_per_step=512, device="cpu")


def test_missing_data_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"train\.py prepare --out"):
        train_and_ship("draft", tmp_path, tmp_path / "out", steps=2, tokens_per_step=512, device="cpu")


def test_training_lowers_the_loss_and_repeats_exactly(data: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first, second = (
        train_and_ship("llama", data, tmp_path / name, steps=8, tokens_per_step=512, device="cpu")
        for name in ("a", "b")
    )
    assert first["curve"][-1]["validation"] < first["curve"][0]["validation"]
    assert first["curve"] == second["curve"]
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_prepare_repeats_exactly(source: Path, data: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path)
    for name in ("tokenizer.json", "train.npy", "test.npy", "manifest.json", "eval/heldout.txt"):
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes()


def test_token_arrays_start_every_file_with_the_separator(data: Path) -> None:
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    assert sum(size["files"] for size in manifest["splits"].values()) == 80
    for split, size in manifest["splits"].items():
        tokens = np.load(data / f"{split}.npy")
        assert tokens.dtype == np.uint16
        assert tokens[0] == 0
        assert (len(tokens), int((tokens == 0).sum())) == (size["tokens"], size["files"])


def test_split_depends_on_the_path_alone() -> None:
    splits = [split_of(f"package/module_{index}.py") for index in range(2000)]
    assert SourceFile("package/module_7.py", "anything").split == splits[7]
    assert 0.90 < splits.count("train") / len(splits) < 0.94
    assert min(splits.count("validation"), splits.count("test")) > 40


def test_collect_leaves_out_what_is_not_source(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "same.py").write_text("x = 1\n")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "separator.py").write_text("end = '<|endoftext|>'\n")
    (tmp_path / "notes.txt").write_text("not python")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "other.py").write_text("y = 2\n")
    assert collect(tmp_path) == [SourceFile("good.py", "x = 1\n")]


def test_collect_of_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no usable \.py file below"):
        collect(tmp_path)


def test_heldout_text_is_test_files_within_the_limit() -> None:
    files = [SourceFile(f"module_{index}.py", f"# {index}\n" + "x = 1\n" * 200) for index in range(400)]
    text = heldout_text(files, limit_bytes=6000)
    parts = text.split("<|endoftext|>")[1:]
    assert len(parts) >= 3
    assert len(text.encode()) <= 6000
    assert {file.text for file in files if file.split == "test"} >= set(parts)


def test_loss_curve_draws_both_lines() -> None:
    curve = [{"step": 1, "train": 8.0, "validation": 8.1}, {"step": 2, "train": 7.0, "validation": 7.2}]
    svg = loss_curve(curve)
    assert [svg.count(f'class="{name}"/>') for name in ("train", "validation")] == [1, 1]
    assert "validation 7.200" in svg


def run_train_py(*arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(MODELS / "train.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
