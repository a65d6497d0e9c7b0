"""Turn a GGUF file into a Hugging Face folder of float16 weights: `python -m llm_lab.gguf_to_folder FILE FOLDER`.

transformers reads and dequantises the file (it needs the packages gguf and accelerate for that). It refuses to save
what it has read, since the model is marked as quantized; a fresh model takes the weights over.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers.utils import logging


def convert(source: Path, target: Path) -> None:
    """Write config, weights, tokenizer and chat template of `source` into `target`."""
    place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    read = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float16)
    config = read.config
    del config.quantization_config
    model = type(read)(config).to(torch.float16)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _name_tokenizer_class(target / "tokenizer_config.json")


def _name_tokenizer_class(settings: Path) -> None:
    """Name the class that every release of transformers knows for a tokenizer.json."""
    content = json.loads(settings.read_text(encoding="utf-8"))
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
