"""Changes of the gateway's configuration while it runs: a key that is replaced, a setting that does not exist."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llm_deploy.errors import DeployError
from llm_deploy.running.compose import Compose
from llm_deploy.running.deployment import one
from llm_deploy.running.http import ask

Observe = Mapping[str, Callable[[], int | str]]


def new_key() -> str:
    return f"sk-{secrets.token_urlsafe(32)}"


def digest(key: str) -> str:
    """Return a key as configurations hold it."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def configuration(deployment: Compose, service: str = "gateway") -> Path:
    """Return the file on this machine that the gateway, or the monitor, reads as its secret settings."""
    mounted = Path(f"/run/secrets/{service}.yaml")
    name = one(deployment.containers(), service).name
    found = next(each for each in deployment.inspect() if each["Name"].lstrip("/") == name)
    for mount in found["Mounts"]:
        inside, outside = Path(mount["Destination"]), Path(mount["Source"])
        if mounted == inside:
            return outside
        if inside in mounted.parents:
            return outside / mounted.relative_to(inside)
    raise DeployError(f"the {service} has no {mounted} from this machine, so its keys cannot be changed")


@contextmanager
def rewritten(path: Path, text: str) -> Iterator[None]:
    """Replace the file's content in place: a mount of a single file follows the inode, not the name."""
    before = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def expired_key(deployment: Compose) -> Iterator[Observe]:
    path, old, new = configuration(deployment), deployment.keys.client, new_key()
    text = path.read_text(encoding="utf-8")
    if not old or digest(old) not in text:
        raise DeployError(f"{path} does not have the hash of the client's key; --keys names the folder with client.key")
    started = process_of_gateway(deployment)
    with rewritten(path, text.replace(digest(old), digest(new))):
        yield {
            "old key": lambda: _status(deployment, old),
            "new key": lambda: _status(deployment, new),
            "gateway restarted": lambda: "no" if process_of_gateway(deployment) == started else "yes",
        }


@contextmanager
def bad_configuration(deployment: Compose) -> Iterator[Observe]:
    path = configuration(deployment)
    started = process_of_gateway(deployment)
    with rewritten(path, path.read_text(encoding="utf-8") + "\nno_such_setting: 1\n"):
        yield {
            "completion": lambda: _status(deployment, deployment.keys.client),
            "gateway restarted": lambda: "no" if process_of_gateway(deployment) == started else "yes",
        }


def process_of_gateway(deployment: Compose) -> int:
    """Return the gateway's process number, which a restart changes."""
    return one(deployment.containers(), "gateway").pid


def _status(deployment: Compose, key: str) -> int:
    body = {"model": "main", "prompt": "def f", "max_tokens": 1}
    return ask(f"{deployment.url('gateway', 8080)}/v1/completions", key=key, body=body).status
