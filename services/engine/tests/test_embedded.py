"""Offline use needs torch, numpy, safetensors, tokenizers, jinja2 and tqdm, and imports nothing of the server's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NOT_NEEDED = (
    "fastapi", "llguidance", "llm_contract", "orjson", "prometheus_client", "psutil", "pydantic", "pydantic_settings",
    "rich", "starlette", "transformers", "uvicorn", "yaml",
)  # fmt: skip
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from llm_engine import LLM, SamplingParams

llm = LLM(sys.argv[1], num_gpu_blocks_override=128)
print(len(llm.generate("import os", SamplingParams(max_tokens=5, ignore_eos=True))[0].token_ids))
"""


def test_it_runs_without_what_only_the_server_needs(models: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(models / "zoo" / "llama"), ",".join(NOT_NEEDED)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.returncode) == ("5\n", 0), result.stderr
