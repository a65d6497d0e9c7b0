"""From source files to token arrays: everything training and evaluation read, in one folder.

DATA/tokenizer.json, tokenizer_config.json
DATA/train.npy, validation.npy, test.npy    uint16 token ids, `<|endoftext|>` before every file
DATA/eval/heldout.txt, README.md            the small text that is shipped for evaluation
DATA/manifest.json                          where the text came from, and how much there is
"""

import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from llm_train.bpe import SEPARATOR_ID, save_tokenizer, train_tokenizer
from llm_train.corpus import SPLITS, SourceFile, collect, heldout_text

LICENCE = "PSF-2.0 (https://docs.python.org/3/license.html)"


def prepare(source: Path, out: Path) -> dict[str, Any]:
    """Build the data folder `out` from the Python files below `source`; return the manifest."""
    files = collect(source)
    by_split = {split: [file for file in files if file.split == split] for split in SPLITS}
    empty = [split for split, members in by_split.items() if not members]
    if empty:
        raise SystemExit(f"{len(files)} files below {source} leave {', '.join(empty)} empty; give a larger folder")
    tokenizer = train_tokenizer(file.text for file in by_split["train"])
    save_tokenizer(tokenizer, out)
    splits = {split: _write_split(tokenizer, members, out / f"{split}.npy") for split, members in by_split.items()}
    _write_heldout(heldout_text(files), out / "eval", source)
    manifest = {
        "source": f"standard library of {platform.python_implementation()} {platform.python_version()}",
        "licence": LICENCE,
        "split": "by file, on the SHA-256 of the path below the library's root",
        "splits": splits,
        "tokenizer": {
            "vocabulary": tokenizer.get_vocab_size(),
            "sha256": hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest(),
        },
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _write_split(tokenizer: Tokenizer, files: list[SourceFile], path: Path) -> dict[str, int]:
    ids: list[int] = []
    for encoding in tokenizer.encode_batch([file.text for file in files]):
        ids.append(SEPARATOR_ID)
        ids.extend(encoding.ids)
    np.save(path, np.array(ids, dtype=np.uint16))
    size_bytes = sum(len(file.text.encode()) for file in files)
    return {"files": len(files), "bytes": size_bytes, "tokens": len(ids)}


def _write_heldout(text: str, folder: Path, source: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "heldout.txt").write_text(text, encoding="utf-8", newline="")
    (folder / "README.md").write_text(
        "# Held-out text\n\n"
        f"`heldout.txt` holds files of the standard library of Python {platform.python_version()} that no model and no"
        " tokenizer here was trained on (the test split of `models/train.py prepare`), unchanged, each after an"
        " `<|endoftext|>`. Use it to measure perplexity, quantization loss and speculative acceptance.\n\n"
        f"Copyright (c) Python Software Foundation and contributors. Licence: {LICENCE}; its text is in"
        " [`../LICENSE-PSF`](../LICENSE-PSF).\n",
        encoding="utf-8",
    )
    if (source / "LICENSE.txt").exists():
        shutil.copyfile(source / "LICENSE.txt", folder / "LICENSE-PSF")
