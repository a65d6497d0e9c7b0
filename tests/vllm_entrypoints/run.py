"""Run vLLM's own OpenAI entrypoint tests, unmodified, against our engine or against vLLM itself.

    python -m vllm_entrypoints.run [--server vllm] [--json FILE] [-k EXPRESSION] [FILE …]

The tests run in vLLM's environment (`./lab vllm`), for they import vLLM. What is ours is the server: a command named
`vllm` that comes first on their PATH (bin/vllm). Against vLLM itself, the stand-in models show which tests need the
model that they name.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llm_lab import paths, vllm
from vllm_entrypoints import sources, stand_ins

HERE = Path(__file__).resolve().parent
OURS, THEIRS = "llm-engine", "vllm"
FILES = (
    "openai/chat_completion/test_chat.py",
    "openai/chat_completion/test_chat_completion.py",
    "openai/chat_completion/test_chat_echo.py",
    "openai/chat_completion/test_chat_logit_bias_validation.py",
    "openai/chat_completion/test_enable_force_include_usage.py",
    "openai/chat_completion/test_logprob_token_ids.py",
    "openai/chat_completion/test_non_object_body_validation.py",
    "openai/chat_completion/test_root_path.py",
    "openai/completion/test_completion.py",
    "openai/completion/test_prompt_validation.py",
    "openai/completion/test_token_in_token_out.py",
    "openai/models/test_models.py",
    "openai/test_chunked_prompt.py",
    "openai/test_return_token_ids.py",
    "openai/test_return_tokens_as_ids.py",
    "serve/instrumentator/test_basic.py",
    "serve/instrumentator/test_metrics.py",
    "serve/tokenize/test_tokenization.py",
)
"""Under tests/entrypoints: those that start a server that generates text and speak HTTP to it."""
TIMEOUT_SECONDS = 3600.0

Outcomes = dict[str, tuple[str, str]]
"""Test id, from `entrypoints/` on, to (passed, failed or skipped; first line of the error)."""


def run(server: str = OURS, files: Sequence[str] = FILES, select: str | None = None) -> Outcomes:
    assert vllm.is_installed(), "real vLLM is not installed; ./lab vllm installs it"
    source = sources.fetch()
    with tempfile.TemporaryDirectory() as scratch:
        hub, outcomes = Path(scratch) / "hub", Path(scratch) / "outcomes.json"
        stand_ins.build_hub(hub)
        command = [
            *(str(paths.VLLM_VENV / "bin" / "python"), "-m", "pytest", "-q", "--tb=short", "--noconftest"),
            *("--continue-on-collection-errors", "--import-mode=importlib", f"--rootdir={source}", "-c", os.devnull),
            *("-p", "no:cacheprovider", "-p", "tests.entrypoints.conftest", "-p", "plugin", "-o", "asyncio_mode=auto"),
            *(f"tests/entrypoints/{file}" for file in files),
            *(("-k", select) if select else ()),
        ]
        log = paths.LOGS / f"vllm-entrypoints-{server}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            subprocess.run(
                command, cwd=source, env=_environment(server, hub, outcomes, source), stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False,
            )  # fmt: skip
        assert outcomes.is_file(), f"vLLM's tests did not run; see {log}"
        found = json.loads(outcomes.read_text())
    return {name.removeprefix("tests/entrypoints/"): (outcome, reason) for name, (outcome, reason) in found.items()}


def _environment(server: str, hub: Path, outcomes: Path, source: Path) -> dict[str, str]:
    commands = {OURS: [sys.executable, "-m", "llm_engine", "serve"], THEIRS: [str(vllm.COMMAND), "serve"]}
    return {
        **{name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ},
        **vllm.ENVIRONMENT,
        "PATH": os.pathsep.join((str(HERE / "bin"), os.environ["PATH"])),
        "PYTHONPATH": os.pathsep.join((str(source), str(HERE))),
        "HF_HUB_CACHE": str(hub),
        "OUTCOMES": str(outcomes),
        "SERVE": json.dumps(commands[server]),
        "SERVE_PYTHONPATH": os.pathsep.join(filter(None, sys.path)) if server == OURS else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="below tests/entrypoints; default: all that apply")
    parser.add_argument("--server", choices=(OURS, THEIRS), default=OURS)
    parser.add_argument("-k", dest="select", help="pytest's expression")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    arguments = parser.parse_args()
    outcomes = run(arguments.server, arguments.files or FILES, arguments.select)
    for name, (outcome, reason) in outcomes.items():
        print(f"{outcome:8} {name}  {reason}")
    if arguments.json:
        arguments.json.write_text(json.dumps(outcomes, indent=1) + "\n")


if __name__ == "__main__":
    main()
