"""The folder that is being written, under a name of its own until it is complete.

    .NAME.partial/model-00001-of-00009.safetensors …   one file for what is around the blocks, then one a block
                  model-00002-of-00009.json …          a block's record
                  begun.json                           recipe and model; a run with others cannot resume this one

A shard gets its name when all of it is written, so what has a name is whole. The last step gives the folder its name.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm_quantize.checkpoint import INDEX, read_json
from llm_quantize.errors import OutputError
from llm_quantize.pipeline.record import BlockRecord, Record

COPIED = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "generation_config.json",
    "chat_template*", "LICENSE*", "NOTICE*",
)  # fmt: skip
BEGUN = "begun.json"


class OutputFolder:
    """A folder that appears under its name when `finish` is called, and not before."""

    def __init__(self, out: Path, begun: dict[str, Any], *, shards: int, resume: bool) -> None:
        """Begin, or go on with what an interrupted run left. OutputError if the name is taken."""
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} exists; give another folder, or remove it")
        self._out, self._shards = out, shards
        self._partial = out.parent / f".{out.name}.partial"
        try:
            if self._partial.exists() and not (resume and (self._partial / BEGUN).exists()):
                shutil.rmtree(self._partial)
            self._partial.mkdir(parents=True, exist_ok=True)
            self._begin(json.loads(json.dumps(begun)))
        except OSError as error:
            raise self._failure(error) from None

    def shard(self, index: int) -> tuple[dict[str, Tensor], BlockRecord] | None:
        """Return a finished shard and what was recorded of it, or None."""
        path = self._path(index)
        record = path.with_suffix(".json")
        return (load_file(path), BlockRecord.of(read_json(record))) if path.exists() and record.exists() else None

    def write(self, index: int, tensors: dict[str, Tensor], recorded: BlockRecord | None) -> None:
        """Write a shard. OutputError if the disk is full."""
        path = self._path(index)
        unfinished = path.with_suffix(".unfinished")
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
        try:
            if recorded is not None:
                path.with_suffix(".json").write_text(json.dumps(asdict(recorded)))
            save_file(contiguous, unfinished, metadata={"format": "pt"})
            os.replace(unfinished, path)
        except (OSError, SafetensorError) as error:
            unfinished.unlink(missing_ok=True)
            raise self._failure(error) from None

    def weight_bytes(self) -> int:
        """Return the size of all weights."""
        return sum(path.stat().st_size for path in self._partial.glob("*.safetensors"))

    def finish(self, model: Path, config: dict[str, Any], record: Record) -> None:
        """Add the model's other files, and give the folder its name."""
        try:
            for pattern in COPIED:
                for path in model.glob(pattern):
                    shutil.copy2(path, self._partial / path.name)
            self._write_json("config.json", config)
            self._write_json(INDEX, self._index())
            record.write(self._partial)
            for index in range(self._shards):
                self._path(index).with_suffix(".json").unlink(missing_ok=True)
            (self._partial / BEGUN).unlink()
            os.replace(self._partial, self._out)
        except OSError as error:
            raise self._failure(error) from None

    def _begin(self, begun: dict[str, Any]) -> None:
        path = self._partial / BEGUN
        if path.exists() and read_json(path) != begun:
            raise OutputError(
                f"{self._partial} was begun with another recipe or model; resume with those, or remove it"
            )
        path.write_text(json.dumps(begun))

    def _index(self) -> dict[str, Any]:
        """Return the index that says which file has which tensor."""
        places: dict[str, str] = {}
        for path in map(self._path, range(self._shards)):
            with safe_open(path, framework="pt") as handle:
                places.update(dict.fromkeys(handle.keys(), path.name))
        return {"metadata": {"total_size": self.weight_bytes()}, "weight_map": places}

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        (self._partial / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    def _path(self, index: int) -> Path:
        return self._partial / f"model-{index + 1:05}-of-{self._shards:05}.safetensors"

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(
            f"{self._out} could not be written: {error}; what is complete lies in {self._partial}, and --resume goes on"
        )
