"""Model cards and the overview table, generated from each folder's `training.json` alone."""

import json
import math
from pathlib import Path
from typing import Any

from llm_train.curve import loss_curve

TABLE_START = "<!-- table: python models/train.py cards -->"
TABLE_END = "<!-- end of table -->"


def write_card(folder: Path) -> None:
    """Write `README.md` and `loss.svg` of one model folder."""
    results = read_results(folder)
    (folder / "README.md").write_text(render_card(folder, results), encoding="utf-8")
    (folder / "loss.svg").write_text(loss_curve(results["curve"]), encoding="utf-8")


def write_cards(models: Path) -> None:
    """Write every card below `models` and the table in its README.md."""
    for folder in model_folders(models):
        write_card(folder)
    readme = models / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(TABLE_START)
    after = rest.split(TABLE_END)[1]
    readme.write_text(f"{before}{TABLE_START}\n{render_table(models)}{TABLE_END}{after}", encoding="utf-8")


def model_folders(models: Path) -> list[Path]:
    """Return every folder with a `training.json`, the largest model first."""
    folders = [path.parent for path in models.rglob("training.json")]
    return sorted(folders, key=lambda folder: (-read_results(folder)["parameters"], folder.name))


def read_results(folder: Path) -> dict[str, Any]:
    """Return what the training script recorded for the model in `folder`."""
    results: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return results


def render_table(models: Path) -> str:
    """Return the overview as a Markdown table."""
    lines = ["| folder | family | parameters | test perplexity | bits per byte | what it is for |"]
    lines.append("| --- | --- | ---: | ---: | ---: | --- |")
    for folder in model_folders(models):
        results = read_results(folder)
        name = folder.relative_to(models).as_posix()
        lines.append(
            f"| [`{name}`]({name}/README.md) | {results['family']} | {results['parameters']:,} |"
            f" {results['test']['perplexity']:.2f} | {results['test']['bits_per_byte']:.3f} | {results['purpose']} |"
        )
    return "\n".join(lines) + "\n"


def render_card(folder: Path, results: dict[str, Any]) -> str:
    """Return the model card as Markdown with Hugging Face's metadata block."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sections = (
        "---\nlicense: apache-2.0\nlanguage: code\nlibrary_name: transformers\npipeline_tag: text-generation\n---",
        f"# {results['preset']}\n\n{results['purpose']}\n\n{_shape(results, config)}",
        f"## How good it is\n\n{_quality(results)}",
        f"## What it writes\n\n{_samples(results['sample'])}",
        f"## Data\n\n{_data(results['data'])}",
        f"## Training\n\n{_training(results)}\n\n![training and validation loss](loss.svg)",
        f"## Licence\n\nWeights and code: Apache-2.0. Training text: {results['data']['licence']}, see"
        " `LICENSE-PSF` in the models folder.",
    )
    return "\n\n".join(sections) + "\n"


def _shape(results: dict[str, Any], config: dict[str, Any]) -> str:
    window = f", sliding window {config['sliding_window']}" if config.get("sliding_window") else ""
    return (
        f"`{config['architectures'][0]}`, {results['parameters']:,} parameters in bf16: {config['num_hidden_layers']}"
        f" layers, hidden size {config['hidden_size']}, {config['num_attention_heads']} query and"
        f" {config['num_key_value_heads']} key-value heads, intermediate size {config['intermediate_size']}, tied"
        f" embeddings, vocabulary {config['vocab_size']:,}, context {config['max_position_embeddings']:,}{window}."
    )


def _quality(results: dict[str, Any]) -> str:
    test, slice_ = results["test"], results["heldout_slice"]
    validation = math.exp(results["validation"]["validation"])
    rows = (
        f"| validation split, best step | {validation:.2f} |\n"
        f"| test split, {test['tokens']:,} tokens ({test['bits_per_byte']:.3f} bits per byte) |"
        f" {test['perplexity']:.2f} |\n"
        f"| `eval/heldout.txt`, {results['heldout']['tokens']:,} tokens | {results['heldout']['perplexity']:.2f} |\n"
        f"| its first {slice_['tokens']:,} tokens | {slice_['perplexity']:.2f} |\n"
    )
    rows += "".join(
        f"| test split, tokens {where} of a window | {perplexity:.2f} |\n"
        for where, perplexity in results["perplexity_by_position"].items()
    )
    return (
        f"| text | perplexity |\n| --- | ---: |\n{rows}\nMeasured on the shipped bf16 weights, computed in fp32, over"
        " windows of 2,048 tokens that do not overlap. It has seen Python source and little else: it writes the look"
        " of Python, not programs to trust."
    )


def _samples(sample: dict[str, str]) -> str:
    return (
        f"`{sample['prompt']}`, greedy:\n\n```python\n{sample['greedy']}\n```\n\n"
        f"and at temperature 0.7:\n\n```python\n{sample['temperature_0.7']}\n```"
    )


def _data(data: dict[str, Any]) -> str:
    rows = "".join(
        f"| {split} | {size['files']:,} | {size['bytes']:,} | {size['tokens']:,} |\n"
        for split, size in data["splits"].items()
    )
    return (
        f"Python source and docstrings of the {data['source']}, split {data['split']}.\n\n"
        f"| split | files | bytes | tokens |\n| --- | ---: | ---: | ---: |\n{rows}"
    ).rstrip()


def _training(results: dict[str, Any]) -> str:
    recipe = results["recipe"]
    return (
        f"{recipe['steps']:,} steps of {recipe['tokens_per_step']:,} tokens ({recipe['epochs']} epochs), windows of"
        f" {recipe['windows'][0]} and {recipe['windows'][1]:,} tokens in turn; {recipe['optimizer']}, peak learning"
        f" rate {recipe['learning_rate']}, betas {recipe['betas']}, weight decay {recipe['weight_decay']}, gradient"
        f" clip {recipe['gradient_clip']}, warm-up and cosine; {recipe['precision']}; seed {recipe['seed']}. The"
        f" weights are those of step {results['best_step']:,}, the best on the validation split.\n\n"
        f"    python models/train.py prepare --out out/models-data\n"
        f"    python models/train.py train {results['preset']} --data out/models-data --out FOLDER"
        f" --steps {recipe['steps']} --tokens-per-step {recipe['tokens_per_step']}"
    )
