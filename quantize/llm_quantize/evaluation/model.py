"""The model under evaluation: weights, tokenizer, and the text cut into tokens.

Everything that reads a model folder for evaluation goes through `load`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer
from transformers.utils import logging

from llm_quantize.errors import EvaluationError
from llm_quantize.formats import load_dequantized

DOCUMENT_MARK = "<|endoftext|>"
"""Stands before each document of a text."""


@dataclass(frozen=True)
class Loaded:
    """A causal language model in float32 and its tokenizer."""

    folder: Path
    model: Any
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def context(self) -> int:
        """Return the longest sequence that the model takes."""
        return int(self.model.config.max_position_embeddings)

    @property
    def start(self) -> list[int]:
        """Return the tokens that the tokenizer puts before every text: none, or the one that begins a sequence."""
        return list(self.tokenizer("")["input_ids"])

    @property
    def mark(self) -> str:
        """Return the text between documents: the usual mark, or the end token of a tokenizer without it."""
        known = self.tokenizer.get_vocab()
        return DOCUMENT_MARK if DOCUMENT_MARK in known else str(self.tokenizer.eos_token or "\n\n")

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text and nothing else."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def logits(self, ids: Tensor) -> Tensor:
        """Return the logits after each token: [n] int64 -> [n, vocabulary] float32."""
        with torch.inference_mode():
            logits: Tensor = self.model(input_ids=ids[None].to(self.device), use_cache=False).logits[0]
        return logits.float()


def load(folder: Path, device: str = "cpu") -> Loaded:
    """Load a model folder, quantised or not, as an engine computes it but in float32.

    EvaluationError if it holds no causal language model.
    """
    if not (folder / "config.json").is_file():
        raise EvaluationError(f"{folder} is no model: it has no config.json; name a Hugging Face folder")
    torch.set_float32_matmul_precision("highest")
    logging.disable_progress_bar()
    try:
        model = load_dequantized(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise EvaluationError(f"{folder} cannot be loaded: {error}") from error
    return Loaded(folder, model.to(device), tokenizer)


def split_documents(text: str) -> list[str]:
    """Return the documents of a text, which a mark separates; a text without marks is one document."""
    return [document for document in text.split(DOCUMENT_MARK) if document.strip()]


def token_row(loaded: Loaded, text: str) -> tuple[list[int], list[int]]:
    """Return the tokens of all documents, each after the mark, and the document of each token."""
    row: list[int] = []
    documents: list[int] = []
    for number, document in enumerate(split_documents(text)):
        tokens = loaded.tokens(loaded.mark + document)
        row += tokens
        documents += [number] * len(tokens)
    return row, documents


def predictions(loaded: Loaded, ids: Tensor) -> Tensor:
    """Return the logits for each token of a window but its first."""
    start = torch.tensor(loaded.start, dtype=ids.dtype)
    return loaded.logits(torch.cat([start, ids[:-1]]))[len(start) :]


def weight_bytes(folder: Path) -> int:
    """Return the size of the weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
