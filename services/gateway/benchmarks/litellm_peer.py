"""LiteLLM's proxy as the peer: its own environment from a lock with hashes, and one worker in front of the engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from llm_measure.peers import Peer
from llm_measure.processes import Server, command, free_port

PEER = Peer("litellm")
"""About 500 MB."""
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no check of keys, on loopback
}


@contextmanager
def litellm(engine_url: str) -> Iterator[Server]:
    """Run the proxy with one worker and without database, keys and callbacks: its minimal work per request."""
    PEER.install()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "litellm.yaml"
        parameters = {"model": "openai/main", "api_base": f"{engine_url}/v1", "api_key": "none"}
        config.write_text(yaml.safe_dump({"model_list": [{"model_name": "main", "litellm_params": parameters}]}))
        argv = (PEER.program("litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
        with command(
            (*argv, "--num_workers", "1"), f"http://127.0.0.1:{port}", "/health/liveliness", ENVIRONMENT
        ) as it:
            yield it
