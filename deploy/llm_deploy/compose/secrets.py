"""The secrets of the Compose files: made on this machine, one file each, never in an image or a variable.

client.key    API key of the gateway's first tenant
admin.key     the gateway's admin API, and Grafana's password
monitor.key   the monitor's dashboard, the gateway's metrics, and the spans that services send
gateway.yaml  the hashes that the gateway needs, as settings
monitor.yaml  the same for the monitor, with the receivers of alerts
webhook.url   address that alerts are posted to; empty: none

Compose mounts a secret's file as it is, with its owner. Containers run as uid 10001, so the files can be read by all;
their folder can be entered by its owner only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llm_deploy.errors import DeployError, UsageError
from llm_deploy.paths import DEPLOY, STATE
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.keys import key_hash, new_key
from llm_monitor.settings import MonitorSettings

KEYS = ("client.key", "admin.key", "monitor.key")
MAY_BE_EMPTY = ("webhook.url",)
HINT = "`./lab compose secrets` makes them"


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the Compose files look for secrets."""
    return Path(environment.get("LLM_LAB_SECRETS") or STATE / "secrets")


def make(where: Path, webhook: str | None = None) -> list[str]:
    """Make the secrets that are missing, and return their names. A file that is there stays as it is.

    `webhook`: address that alerts are posted to. It replaces the last one.
    """
    if webhook is not None and not webhook.startswith(("http://", "https://")):
        raise UsageError(f"--webhook {webhook} is no URL; it starts with http:// or https://")
    where.mkdir(parents=True, exist_ok=True)
    where.chmod(0o700)
    made = [name for name in KEYS if _write_new(where / name, new_key())]
    keys = {name: key_hash((where / name).read_text().strip()) for name in KEYS}
    gateway = {
        "tenants": [{"name": "default", "keys": [keys["client.key"]]}],
        "admin": {"key": keys["admin.key"]},
        "monitoring": {"key": keys["monitor.key"]},
    }
    receiver = {"type": "webhook", "url_file": "/run/secrets/webhook.url"}
    monitor: dict[str, Any] = {"web": {"keys": [keys["monitor.key"]]}}
    if webhook is not None:
        (where / "monitor.yaml").unlink(missing_ok=True)
        (where / "webhook.url").unlink(missing_ok=True)
        monitor["alerts"] = {"receivers": [receiver]}
    for name, text in {
        "gateway.yaml": yaml.safe_dump(gateway, sort_keys=False),
        "monitor.yaml": yaml.safe_dump(monitor, sort_keys=False),
        "webhook.url": webhook or "",
    }.items():
        if _write_new(where / name, text):
            made.append(name)
    return made


def check(files: Mapping[str, Path]) -> None:
    """Raise DeployError, with one line, if a secret (name -> file) is missing, empty, or has the wrong form."""
    for name, path in sorted(files.items()):
        if not path.is_file():
            raise DeployError(f"the secret {path} is missing; {HINT}")
        if not path.read_text(errors="replace").strip() and name not in MAY_BE_EMPTY:
            raise DeployError(f"the secret {path} is empty; delete it, and {HINT}")
        if not path.stat().st_mode & 0o004:
            raise DeployError(
                f"uid 10001 in the container cannot read {path}; chmod 644 it, its folder keeps others out"
            )
    if "gateway.yaml" in files:
        _check_gateway(files["gateway.yaml"])
    if "monitor.yaml" in files:
        _check_settings(MonitorSettings, files["monitor.yaml"])


def _check_gateway(path: Path) -> None:
    _check_settings(GatewaySettings, path, "--engines", "http://127.0.0.1:8000")


def _check_settings(model: type[GatewaySettings] | type[MonitorSettings], path: Path, *flags: str) -> None:
    """Read the secrets as the service will: after its own configuration."""
    from llm_contract.settings import InvalidSettings, read

    name = path.name.removesuffix(".yaml")
    own = DEPLOY / "compose" / "config" / f"{name}.yaml"
    try:
        read(model, prog=f"llm-{name}", argv=["--config", str(own), "--config", str(path), *flags])
    except InvalidSettings as error:
        raise DeployError(f"{path}: {error}") from None


def _write_new(path: Path, text: str) -> bool:
    """Write a file unless it is there; return whether it was written."""
    if path.exists():
        return False
    path.write_text(text)  # no line break after a key: the OpenTelemetry Collector would send it
    path.chmod(0o644)
    return True
