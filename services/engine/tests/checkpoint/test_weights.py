from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm_engine import LLM, SamplingParams
from llm_engine.checkpoint.folder import read_json, resolve_model
from llm_engine.errors import ModelError, RequestError
from llm_engine.testing.parts import decoder_of


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A copy of the zoo's llama that a test can break."""
    return Path(shutil.copytree(models / "zoo" / "llama", tmp_path / "model"))


def load(folder: Path) -> LLM:
    return LLM(str(folder), num_gpu_blocks_override=128)


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_shards_load_like_one_file(folder: Path) -> None:
    def generate() -> list[int]:
        params = SamplingParams(temperature=0, max_tokens=8)
        return load(folder).generate("import os", params, use_tqdm=False)[0].token_ids

    expected = generate()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for index, part in enumerate((names[::2], names[1::2]), start=1):
        save_file({name: tensors[name] for name in part}, folder / f"model-0000{index}-of-00002.safetensors")
    assert generate() == expected


STRAY = {
    "beside a single file": ["model.safetensors"],
    "beside an index": ["a.safetensors", "b.safetensors"],
    "a single file beside an index": ["model.safetensors"],
}


@pytest.mark.parametrize("place", STRAY)
@pytest.mark.parametrize("stray", ["adapter.safetensors", "consolidated.safetensors", "zzz.safetensors"])
def test_weights_that_are_not_the_models_do_not_win(folder: Path, place: str, stray: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    expected = transformers_logits(folder)
    broken = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    names = sorted(tensors)
    files = dict(zip(["a.safetensors", "b.safetensors"], (names[::2], names[1::2]), strict=True))
    index = {name: file for file, part in files.items() for name in part}
    if place == "beside an index":
        (folder / "model.safetensors").unlink()
        for file, part in files.items():
            save_file({name: tensors[name] for name in part}, folder / file)
    if place != "beside a single file":
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    if place == "a single file beside an index":
        for file in files:
            save_file(broken, folder / file)
    save_file(broken, folder / stray)
    assert torch.allclose(transformers_logits(folder), expected)
    assert first_token(folder) == int(expected.argmax())


def transformers_logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[5, 6, 7]])).logits
    return logits[0, -1].float()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"model.norm.weight": "elsewhere.safetensors"}}, "names elsewhere.safetensors"),
        ({"weight_map": {"no.such.tensor": "a.safetensors"}}, "says that no.such.tensor is in a.safetensors"),
        ({"weight_map": {}}, "has no weight_map"),
        ({}, "has no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_files(folder: Path, index: dict[str, object], message: str) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_a_tensor_in_two_files_without_an_index(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    save_file({"model.norm.weight": tensors["model.norm.weight"]}, folder / "b.safetensors")
    with pytest.raises(ModelError, match=r"model\.norm\.weight is in two files"):
        load(folder)


def test_bfloat16_loads_as_bfloat16_when_asked(folder: Path) -> None:
    llm = LLM(str(folder), dtype="bfloat16", num_gpu_blocks_override=128)
    (output,) = llm.generate("import os", SamplingParams(temperature=0, max_tokens=8), use_tqdm=False)
    assert len(output.token_ids) == 8


def test_a_name_that_is_neither_folder_nor_hub_name(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none"), "./none", "none"):
        with pytest.raises(ModelError, match="is neither a model folder nor"):
            resolve_model(name)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_json(folder / "config.json")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        load(folder)


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_a_shape_that_disagrees_is_named_with_both_shapes(folder: Path) -> None:
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    change_config(folder, vocab_size=vocab + 1)
    with pytest.raises(ModelError, match=rf"embed_tokens\.weight has shape \({vocab}, .* asks for \({vocab + 1}"):
        load(folder)


def test_more_layers_than_config_json_names(folder: Path) -> None:
    change_config(folder, num_hidden_layers=2)
    with pytest.raises(ModelError, match="more than the 2 layers"):
        load(folder)


def test_a_bias_that_config_json_does_not_mention_is_ignored(folder: Path) -> None:
    """As in transformers and in vLLM; converted checkpoints have such biases, all zeros."""
    expected = transformers_logits(folder)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(3):
        tensors[f"model.layers.{layer}.mlp.down_proj.bias"] = torch.linspace(-2, 2, 64)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert torch.allclose(transformers_logits(folder), expected)
    assert first_token(folder) == int(expected.argmax())
    change_config(folder, mlp_bias=True)
    with pytest.raises(ModelError, match=r"lack model\.layers\.0\.mlp\.gate_proj\.bias"):
        load(folder)


@pytest.mark.parametrize("same", [True, False])
def test_a_head_beside_tied_embeddings_counts_if_it_differs(folder: Path, same: bool) -> None:
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embedding.clone() if same else embedding.flip(0).contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    change_config(folder, tie_word_embeddings=True)
    assert first_token(folder) == int(transformers_logits(folder).argmax())


def first_token(folder: Path) -> int:
    params = SamplingParams(temperature=0, max_tokens=1)
    return load(folder).generate([5, 6, 7], params, use_tqdm=False)[0].token_ids[0]


def test_random_weights_need_no_checkpoint_and_no_tokenizer(folder: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    llm = LLM(str(folder), load_format="dummy", skip_tokenizer_init=True, num_gpu_blocks_override=128)
    (output,) = llm.generate([5, 6, 7], SamplingParams(max_tokens=8, ignore_eos=True), use_tqdm=False)
    assert (len(output.token_ids), output.text) == (8, "")
    with pytest.raises(RequestError, match="without a tokenizer"):
        llm.generate("text")


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        load(folder)


def test_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="is no tokenizer"):
        load(folder)


def test_a_cache_too_small_for_one_sequence_says_which_flag_to_lower(folder: Path) -> None:
    for settings in ({"num_gpu_blocks_override": 3}, {"kv_cache_memory_bytes": 1000}):
        with pytest.raises(ModelError, match="lower --max-model-len"):
            LLM(str(folder), **settings)


def test_a_context_longer_than_the_model_was_trained_for(folder: Path) -> None:
    with pytest.raises(ModelError, match="lower --max-model-len"):
        LLM(str(folder), max_model_len=1_000_000)


def test_gemma_norms_stay_exact_in_bfloat16(models: Path) -> None:
    llm = LLM(str(models / "zoo" / "gemma"), dtype="bfloat16", num_gpu_blocks_override=128)
    weights = decoder_of(llm)._weights
    stored = load_file(models / "zoo" / "gemma" / "model.safetensors")["model.norm.weight"].float()
    assert torch.equal(weights.norm, stored + 1)
