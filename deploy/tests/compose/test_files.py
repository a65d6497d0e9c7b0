"""The Compose files: valid by the specification, and safe, bounded and probed in every service."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from llm_contract.settings import read
from llm_deploy.compose.stack import CAPSTONES, FOLDER, JOBS, PROFILES
from llm_deploy.paths import DEPLOY, ROOT
from llm_engine.settings import ServerConfig
from llm_gateway.settings import GatewaySettings
from llm_monitor.settings import MonitorSettings
from llm_router.edge.standalone import StandaloneSettings

CONFIG = FOLDER / "config"
WHOLE = ROOT / "compose.yaml"
FILES = sorted([WHOLE, *FOLDER.glob("*.yaml")])
SCHEMA = DEPLOY / "tests" / "compose" / "spec" / "compose-spec.json"
JOINING = {"extends", "environment", "ports", "depends_on", "secrets", "command", "profiles", "extra_hosts"}
"""Keys by which a file says how services work together. How each one runs is said once, in services.yaml."""
UNPROBED = {"jaeger", "otel-collector"}
"""Their images have no program that could ask."""


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def services(path: Path) -> dict[str, dict[str, Any]]:
    return load(path).get("services", {})


DEFINED = {
    name: service
    for path in (FOLDER / "services.yaml", FOLDER / "profiles.yaml")
    for name, service in services(path).items()
    if "extends" not in service
}
JOINED = [
    pytest.param(path, name, service, id=f"{path.stem}-{name}")
    for path in FILES
    for name, service in services(path).items()
    if service is not DEFINED.get(name) and "extends" in service
]
HASH = "sha256:" + "0" * 64
ONE_TENANT = ("--tenants", f'[{{"name": "a", "keys": ["{HASH}"]}}]', "--admin.key", HASH)
each_service = pytest.mark.parametrize(("name", "service"), DEFINED.items(), ids=list(DEFINED))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_valid_by_composes_specification(path: Path) -> None:
    jsonschema_rs.validator_for(yaml.safe_load(SCHEMA.read_text())).validate(load(path))


def test_the_specification_refuses_a_misspelt_key() -> None:
    wrong = {"services": {"engine": {"image": "engine", "mem_limits": "2g"}}}
    assert not jsonschema_rs.validator_for(yaml.safe_load(SCHEMA.read_text())).is_valid(wrong)


def test_each_capstone_and_each_profile_has_its_part() -> None:
    assert {path.stem for path in FILES} == {*CAPSTONES, "compose", "services", "shared", "profiles"}
    used = {profile for service in services(FOLDER / "profiles.yaml").values() for profile in service["profiles"]}
    assert used == set(PROFILES) - {"cpu"}
    for capstone in CAPSTONES:
        assert capstone in services(FOLDER / f"{capstone}.yaml")
        assert load(FOLDER / f"{capstone}.yaml")["name"] == f"llm-{capstone}"


@pytest.mark.parametrize(("path", "name", "service"), JOINED)
def test_how_a_service_runs_is_said_once(path: Path, name: str, service: dict[str, Any]) -> None:
    assert service.keys() <= JOINING
    base = (path.parent / service["extends"]["file"]).resolve()
    assert base == FOLDER / "services.yaml"
    assert service["extends"]["service"] in services(base)


@each_service
def test_a_service_has_no_privileges(name: str, service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"}


@each_service
def test_a_service_is_bounded(name: str, service: dict[str, Any]) -> None:
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == ("no" if name in JOBS else "unless-stopped")


@each_service
def test_a_service_is_probed_and_has_time_to_start(name: str, service: dict[str, Any]) -> None:
    if name in JOBS:
        assert "healthcheck" not in service, "a job ends, so it has no health"
    elif name in UNPROBED:
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["healthcheck"]["test"][0] == "CMD", "no shell"
        assert int(service["healthcheck"]["start_period"].removesuffix("s")) >= 60


@each_service
def test_an_image_has_an_exact_version(name: str, service: dict[str, Any]) -> None:
    ours = "${LLM_LAB_REGISTRY:-llm-lab}/" + name + ":${LLM_LAB_VERSION:-dev}"
    public = r"\$\{[A-Z_]+_IMAGE:-[a-z./-]+:v?\d+\.\d+\.\d+\}"
    assert service["image"] == ours or re.fullmatch(public, service["image"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ports_are_published_on_loopback_and_can_be_moved(path: Path) -> None:
    for service in services(path).values():
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+_PORT:-\d+\}:\d+", port)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_secrets_are_files_and_not_variables(path: Path) -> None:
    for service in services(path).values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("KEY|TOKEN|SECRET|PASSWORD", name) or name.endswith("_FILE"), name
            assert "sk-" not in str(value)
    known = load(FOLDER / "shared.yaml")["secrets"]
    used = {secret for service in services(path).values() for secret in service.get("secrets", ())}
    assert used <= known.keys()
    assert all(secret["file"].startswith("${LLM_LAB_SECRETS:-") for secret in known.values())


def test_a_service_is_killed_only_after_its_drain() -> None:
    engines = ("--engines", "http://127.0.0.1:8000")
    gateway = read(GatewaySettings, prog="", argv=["--config", str(CONFIG / "gateway.yaml"), *engines, *ONE_TENANT])
    router = read(StandaloneSettings, prog="", argv=["--config", str(CONFIG / "router.yaml")])
    drains = {
        "gateway": gateway.drain_timeout,
        "router": router.edge_drain_timeout,
        "engine": next(one.default for one in fields(ServerConfig) if one.name == "shutdown_timeout"),
    }
    for name, drain in drains.items():
        grace = float(DEFINED[name]["stop_grace_period"].removesuffix("s"))
        assert grace >= drain + 10, name


def test_the_monitors_configuration_and_its_targets_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "monitor.key"
    key.touch()
    for path, name in ((WHOLE, "monitor"), (FOLDER / "monitor.yaml", "monitor")):
        with monkeypatch.context() as variables:
            for variable, value in services(path)[name]["environment"].items():
                variables.setenv(variable, value.replace("/run/secrets/monitor.key", str(key)))
            argv = ["--config", str(CONFIG / "monitor.yaml"), "--web.keys", f'["{HASH}"]']
            settings = read(MonitorSettings, prog="", argv=argv)
        watched = {target.instance for target in settings.collect.static_targets()}
        assert watched == ({"router", "gateway"} if path == WHOLE else {"engine"})
