"""The shipped models are what their cards say, and the script that made them still works."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_train.card import TABLE_END, TABLE_START, model_folders, read_results, render_card, render_table
from llm_train.presets import PRESETS

MODELS = Path(__file__).resolve().parents[1]
SLICE_TOKENS = 8192
CONTEXT = 2048

shipped = pytest.mark.parametrize("preset", list(PRESETS.values()), ids=list(PRESETS))


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@shipped
def test_folder_loads_in_transformers_as_the_preset_describes(preset) -> None:
    folder = MODELS / preset.folder
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    results = read_results(folder)
    assert model.dtype == torch.bfloat16
    assert model.config.model_type == preset.family
    assert sum(parameter.numel() for parameter in model.parameters()) == results["parameters"]
    assert len(tokenizer) == model.config.vocab_size == 4096
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id == 0
    expected = preset.config().to_dict()
    differing = {key for key, value in model.config.to_dict().items() if key in expected and expected[key] != value}
    assert differing <= {"architectures", "dtype", "transformers_version", "_name_or_path"}


@shipped
def test_auto_tokenizer_reads_the_folder_as_the_tokenizers_library_does(preset) -> None:
    ours = Tokenizer.from_file(str(MODELS / preset.folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(MODELS / preset.folder)
    text = "\tdef f(x):\n        return x  # naïve 漢字 🙂 e\u0301\r\n\n<|endoftext|>import os 2048"
    assert theirs(text)["input_ids"] == ours.encode(text).ids
    assert theirs.decode(ours.encode(text).ids) == ours.decode(ours.encode(text).ids, skip_special_tokens=False)


@shipped
def test_vocabulary_is_shared(preset) -> None:
    vocabulary = Tokenizer.from_file(str(MODELS / preset.folder / "tokenizer.json")).get_vocab()
    assert vocabulary == shared_tokenizer().get_vocab()


@pytest.mark.parametrize("preset", [p for p in PRESETS.values() if p.family != "qwen2"], ids=lambda p: p.name)
def test_tokenizer_is_the_same_file(preset) -> None:
    shared = (MODELS / "main" / "tokenizer.json").read_bytes()
    assert (MODELS / preset.folder / "tokenizer.json").read_bytes() == shared


@shipped
def test_recorded_recipe_is_the_preset(preset) -> None:
    recipe = read_results(MODELS / preset.folder)["recipe"]
    recorded = (recipe["steps"], recipe["tokens_per_step"], recipe["learning_rate"], recipe["weight_decay"])
    assert recorded == (preset.steps, preset.tokens_per_step, preset.learning_rate, preset.weight_decay)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_tokenizer_round_trips_any_text(text: str) -> None:
    tokenizer = shared_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_every_byte_is_a_token() -> None:
    vocabulary = shared_tokenizer().get_vocab()
    assert len([token for token in vocabulary if len(token) == 1]) == 256


def test_main_has_its_recorded_perplexity_on_the_heldout_slice() -> None:
    recorded = read_results(MODELS / "main")["heldout_slice"]
    assert recorded["tokens"] == SLICE_TOKENS - 1
    assert slice_perplexity("main") == pytest.approx(recorded["perplexity"], rel=0.02)


def test_draft_is_worse_than_main_and_far_better_than_chance() -> None:
    draft = slice_perplexity("draft")
    assert read_results(MODELS / "main")["heldout_slice"]["perplexity"] < draft < 4096 / 100


@shipped
def test_model_predicts_and_uses_its_context(preset) -> None:
    results = read_results(MODELS / preset.folder)
    assert results["test"]["perplexity"] < 4096 / 100
    by_position = list(results["perplexity_by_position"].values())
    assert max(by_position[1:]) < by_position[0]


def test_main_continues_a_function_as_recorded() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODELS / "main", dtype=torch.float32)
    sample = read_results(MODELS / "main")["sample"]
    ids = torch.tensor([shared_tokenizer().encode(sample["prompt"]).ids])
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    written = shared_tokenizer().decode(output[0].tolist())
    assert len(written) > len(sample["prompt"])
    assert sample["greedy"].startswith(written)


def test_cards_and_table_say_what_was_recorded() -> None:
    folders = model_folders(MODELS)
    assert {folder.relative_to(MODELS).as_posix() for folder in folders} == {p.folder for p in PRESETS.values()}
    for folder in folders:
        assert (folder / "README.md").read_text(encoding="utf-8") == render_card(folder, read_results(folder))
    table = (MODELS / "README.md").read_text(encoding="utf-8").split(TABLE_START)[1].split(TABLE_END)[0]
    assert table.strip() == render_table(MODELS).strip()


def test_folder_stays_small() -> None:
    sizes = {
        path: path.stat().st_size
        for path in MODELS.rglob("*")
        if path.is_file() and not {"__pycache__", ".pytest_cache", ".hypothesis"} & set(path.parts)
    }
    assert max(sizes.values()) <= 15 * 1024**2
    assert sum(sizes.values()) <= 20 * 1024**2
    assert (MODELS / "eval" / "heldout.txt").stat().st_size <= 250_000


def test_heldout_text_starts_documents_with_the_separator() -> None:
    text = (MODELS / "eval" / "heldout.txt").read_bytes().decode("utf-8")
    ids = shared_tokenizer().encode(text).ids
    assert ids[0] == 0
    assert ids.count(0) == text.count("<|endoftext|>") > 10
    assert np.mean(np.array(ids) != 0) > 0.99


@functools.cache
def shared_tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODELS / "main" / "tokenizer.json"))


def slice_perplexity(folder: str) -> float:
    """Perplexity of the first 8,192 held-out tokens, windows of 2,048, computed without the training code."""
    model = AutoModelForCausalLM.from_pretrained(MODELS / folder, dtype=torch.float32)
    text = (MODELS / "eval" / "heldout.txt").read_bytes().decode("utf-8")
    ids = torch.tensor(shared_tokenizer().encode(text).ids[:SLICE_TOKENS])
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, CONTEXT):
            window = ids[start : start + CONTEXT + 1]
            log_probabilities = model(window[None, :-1], use_cache=False).logits[0].log_softmax(dim=-1)
            total -= log_probabilities[torch.arange(len(window) - 1), window[1:]].sum().item()
    return math.exp(total / (len(ids) - 1))
