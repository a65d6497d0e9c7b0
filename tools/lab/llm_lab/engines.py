"""How to start an engine: ours, or real vLLM on the CPU. Both serve the same model under the same name and flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from llm_lab import paths, vllm
from llm_lab.models import MAIN, Model
from llm_lab.ports import HOST
from llm_lab.service import Service

EngineKind = Literal["llm-engine", "vllm"]
MAX_NUM_SEQS = 32


def engine(
    kind: EngineKind,
    index: int,
    port: int | Literal["{port}"],
    flags: Sequence[str] = (),
    *,
    model: Model = MAIN,
    environment: Mapping[str, str] | None = None,
) -> Service:
    """Return the service of replica `index` on `port`, or on the one that a router puts there.

    `flags` are vLLM's, which our engine shares; `environment` is for our engine.
    """
    name = f"engine-{index}"
    url = f"http://{HOST}:{port}"
    common = (
        *("--served-model-name", model.name, "--host", HOST, "--port", str(port)),
        *("--max-model-len", str(model.max_model_len), "--max-num-seqs", str(MAX_NUM_SEQS), *flags),
    )
    if kind == "vllm":
        # vLLM runs four processes where our engine runs one: on two cores they would starve the gateway and the client.
        serve = ("nice", "-n", "10", str(vllm.COMMAND), "serve", str(model.folder))
        argv = (*serve, *common, "--dtype", "bfloat16", "--enforce-eager")
        return Service(name, argv, url, "/health", vllm.ENVIRONMENT)
    argv = (str(paths.PYTHON), "-m", "llm_engine", "serve", str(model.folder), *common, "--num-threads", "1")
    return Service(name, argv, url, env=dict(environment or {}))
