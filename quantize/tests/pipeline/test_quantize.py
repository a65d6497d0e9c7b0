"""From folder to folder: every method on every family, read back and close to the full model."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from llm_quantize import Recipe, Record, load_dequantized, quantize
from llm_quantize.errors import CalibrationError, ModelError, OutputError

FAMILIES = ("gemma", "llama", "mistral", "phi3", "qwen2", "qwen3")
METHODS = ("rtn", "gptq", "awq", "rotation", "w8a8", "smoothquant", "fp8")
TEXT = Path("models/eval/heldout.txt").read_text(encoding="utf-8")[:4000]
TOKENS = torch.tensor(Tokenizer.from_file("models/main/tokenizer.json").encode(TEXT).ids[:512]).view(2, -1)
MOST_CHANGE = {"w8a8": 0.02, "smoothquant": 0.02, "fp8": 0.05}
"""Largest KL divergence from the full model, in nats a token; 0.3 with 4 bits."""


def logits_of(model: Path) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = load_dequantized(model)(TOKENS).logits
    return found.log_softmax(dim=-1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_on_every_family(
    family: str, method: str, small: Callable[..., Recipe], tmp_path: Path
) -> None:  # fmt: skip
    model = Path("models/zoo") / family
    record = quantize(model, tmp_path / "out", small(method=method))
    full, found = logits_of(model), logits_of(tmp_path / "out")
    divergence = float((full.exp() * (full - found)).sum(dim=-1).mean())
    assert 0 < divergence < MOST_CHANGE.get(method, 0.3)
    assert Record.read(tmp_path / "out") == record
    assert {layer.bits for layer in record.layers} == {8 if method in MOST_CHANGE else 4}
    assert record.weight_bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("method", ["awq", "smoothquant"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scaled_channels_change_nothing_but_the_rounding(
    family: str, method: str, small: Callable[..., Recipe], tmp_path: Path
) -> None:
    """With all layers kept in 16 bits nothing is scaled; what is scaled is read by layers that are rounded."""
    model = Path("models/zoo") / family
    record = quantize(model, tmp_path / "out", small(method=method, ignore=("self_attn", "mlp")))
    assert record.layers == []
    assert set(record.scaled.values()) <= {None}
    torch.testing.assert_close(logits_of(tmp_path / "out"), logits_of(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rotated_model_computes_what_it_did(family: str, small: Callable[..., Recipe], tmp_path: Path) -> None:
    model = Path("models/zoo") / family
    shutil.copytree(model, tmp_path / "model")
    exact = {name: tensor.float() for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(exact, tmp_path / "model" / "model.safetensors")
    quantize(tmp_path / "model", tmp_path / "out", small(method="rotation", ignore=("self_attn", "mlp")))
    torch.testing.assert_close(logits_of(tmp_path / "out"), logits_of(model), atol=2e-3, rtol=2e-3)


def test_one_block_at_a_time_gives_what_the_whole_model_gives(
    small: Callable[..., Recipe], llama: Path, tmp_path: Path
) -> None:
    """Nothing is rounded, so the walk's last hidden states must be the model's own."""
    from llm_quantize.checkpoint import Checkpoint
    from llm_quantize.pipeline.skeleton import Skeleton

    skeleton = Skeleton(llama, torch.device("cpu"), torch.float32)
    weights = Checkpoint(llama)
    hidden, arguments = skeleton.start(weights, TOKENS, batch=1)
    for index in range(len(skeleton)):
        hidden = skeleton.load(index, weights, arguments[index]).run(hidden)
        skeleton.drop(index)
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    with torch.inference_mode():
        expected = model.model(TOKENS).last_hidden_state
        torch.testing.assert_close(model.model.norm(hidden), expected, atol=1e-4, rtol=1e-4)
    assert all(weight.is_meta for weight in skeleton.model.model.layers.parameters())


def test_twice_gives_the_same_bytes(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantize(llama, tmp_path / name, small(method="gptq"))
    for path in (tmp_path / "one").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_another_seed_reads_another_part_of_the_text(
    small: Callable[..., Recipe], llama: Path, tmp_path: Path
) -> None:  # fmt: skip
    text = {"samples": 4, "length": 64, "text": Path("models/eval/heldout.txt")}
    records = [
        quantize(llama, tmp_path / str(seed), small(method="gptq", calibration=text | {"seed": seed}))
        for seed in (0, 1)
    ]
    assert records[0].layers != records[1].layers


def test_an_interrupted_run_is_resumed_with_the_same_result(
    small: Callable[..., Recipe], llama: Path, tmp_path: Path
) -> None:
    recipe = small(method="awq")
    whole = quantize(llama, tmp_path / "whole", recipe)

    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(llama, tmp_path / "out", recipe, progress=interrupt)
    assert not (tmp_path / "out").exists()
    done: list[int] = []
    resumed = quantize(llama, tmp_path / "out", recipe, resume=True, progress=lambda each: done.append(each.block))
    assert done == [1, 2, 3]
    assert [asdict(layer) for layer in resumed.layers] == [asdict(layer) for layer in whole.layers]
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("whole", "out")]
    assert files[0] == files[1]
    for path in (tmp_path / "whole").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_a_run_that_died_while_it_gave_the_folder_its_name(
    small: Callable[..., Recipe], llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def die(source: Path, target: Path) -> None:
        if target == tmp_path / "out":
            raise OSError("died")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(OutputError, match="died"):
            quantize(llama, tmp_path / "out", small(method="rtn"))
    assert not (tmp_path / "out").exists()
    quantize(llama, tmp_path / "out", small(method="rtn"), resume=True)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 4


def test_another_recipe_cannot_be_resumed(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(llama, tmp_path / "out", small(method="rtn"), progress=interrupt)
    with pytest.raises(OutputError, match="another recipe"):
        quantize(llama, tmp_path / "out", small(method="rtn", bits=8), resume=True)


def test_a_share_of_the_layers_keeps_16_bits(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    record = quantize(llama, tmp_path / "out", small(method="rtn", keep=0.3))
    assert record.kept
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["ignore"] == ["lm_head", *record.kept]
    for name in record.kept:
        if name.endswith("q_proj"):
            assert name.replace("q_proj", "k_proj") in record.kept
    assert not set(record.kept) & {layer.name for layer in record.layers}


def test_scales_of_a_kv_cache(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    quantize(llama, tmp_path / "out", small(method="rtn", kv_cache="fp8"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["kv_cache_scheme"]["num_bits"] == 8
    tensors = load_file(next(iter(sorted((tmp_path / "out").glob("model-00002*")))))
    scales = [tensors[f"model.layers.0.self_attn.{name}_scale"] for name in "kv"]
    assert all(0 < float(scale) < 1 for scale in scales)


def test_nothing_is_left_when_the_disk_is_full(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="--resume goes on"):
            quantize(llama, tmp_path / "out", small(method="rtn"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.unfinished"))
    quantize(llama, tmp_path / "out", small(method="rtn"), resume=True)
    assert logits_of(tmp_path / "out").isfinite().all()


def test_a_folder_that_exists_is_left_alone(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        quantize(llama, tmp_path / "out", small(method="rtn"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_quantised_model_is_refused(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    quantize(llama, tmp_path / "once", small(method="rtn"))
    with pytest.raises(ModelError, match="already quantised"):
        quantize(tmp_path / "once", tmp_path / "twice", small(method="rtn"))


def test_groups_that_do_not_divide(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="use a group_size of 64, 32, 16 or -1"):
        quantize(llama, tmp_path / "out", small(method="rtn", group_size=128))


def test_no_model(small: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        quantize(tmp_path, tmp_path / "out", small(method="rtn"))


def test_blocks_that_are_not_linear_layers(small: Callable[..., Recipe], tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ModelError, match="Conv1D, which is not recognised"):
        quantize(tmp_path / "gpt2", tmp_path / "out", small(method="rtn"))


def test_too_little_text(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("short")
    with pytest.raises(CalibrationError, match="need 512 tokens"):
        quantize(
            llama, tmp_path / "out", small(calibration={"samples": 8, "length": 64, "text": tmp_path / "text.txt"})
        )


def test_a_checkpoint_with_nan(small: Callable[..., Recipe], llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "model")
    tensors = load_file(llama / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    with pytest.raises(ModelError, match=r"down_proj\.weight holds NaN"):
        quantize(tmp_path / "model", tmp_path / "out", small(method="rtn"))
    assert not (tmp_path / "out").exists()
