"""The folder that is being written, under a name of its own until it is complete.

    .NAME.partial/shard-00000.safetensors …    one file for what is around the blocks, one a block
                  shard-00000.json             what was recorded of it
                  begun.json                   recipe and model; another one cannot be resumed

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

    def __init__(self, out: Path, begun: dict[str, Any], *, resume: bool) -> None:
        """Begin, or go on with what an interrupted run left. OutputError if the name is taken."""
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} exists; give another folder, or remove it")
        self._out = out
        self._partial = out.parent / f".{out.name}.partial"
        if self._partial.exists() and not resume:
            shutil.rmtree(self._partial)
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._begin(json.loads(json.dumps(begun)))
        except OSError as error:
            raise self._failure(error) from None

    def shard(self, index: int) -> tuple[dict[str, Tensor], BlockRecord] | None:
        """Return a finished shard and what was recorded of it, or None."""
        path = self._path(index)
        if not path.exists():
            return None
        return load_file(path), BlockRecord.of(read_json(path.with_suffix(".json")))

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
            shards = sorted(self._partial.glob("shard-*.safetensors"))
            for path in self._partial.glob("*.json"):
                path.unlink()
            self._name_shards(shards)
            for pattern in COPIED:
                for path in model.glob(pattern):
                    shutil.copy2(path, self._partial / path.name)
            (self._partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            record.write(self._partial)
            self._out.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._partial, self._out)
        except OSError as error:
            raise self._failure(error) from None

    def _begin(self, begun: dict[str, Any]) -> None:
        path = self._partial / BEGUN
        if path.exists() and read_json(path) != begun:
            raise OutputError(
                f"{self._partial} was begun with another recipe or model; resume with those, or start without --resume"
            )
        path.write_text(json.dumps(begun))

    def _name_shards(self, shards: list[Path]) -> None:
        """Rename the shards as transformers does, and write the index."""
        places: dict[str, str] = {}
        for number, path in enumerate(shards, start=1):
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
            with safe_open(path, framework="pt") as handle:
                places.update(dict.fromkeys(handle.keys(), name))
            path.rename(path.with_name(name))
        index = {"metadata": {"total_size": self.weight_bytes()}, "weight_map": places}
        (self._partial / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _path(self, index: int) -> Path:
        return self._partial / f"shard-{index:05}.safetensors"

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(
            f"{self._out} could not be written: {error}; what is complete lies in {self._partial}, and --resume goes on"
        )
