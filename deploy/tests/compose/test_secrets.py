from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llm_deploy.compose import secrets
from llm_deploy.errors import DeployError, UsageError
from llm_gateway.tenancy.keys import key_hash

NAMES = (*secrets.KEYS, "gateway.yaml", "monitor.yaml", "webhook.url")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    where = tmp_path / "secrets"
    assert secrets.make(where) == list(NAMES)
    return where


def files(where: Path) -> dict[str, Path]:
    return {name: where / name for name in NAMES}


def test_what_is_made_is_what_the_services_accept(made: Path) -> None:
    secrets.check(files(made))
    keys = {name: (made / name).read_text().strip() for name in secrets.KEYS}
    assert len(set(keys.values())) == 3
    assert keys["monitor.key"] == (made / "monitor.key").read_text(), "a line break would be part of the key"
    gateway = yaml.safe_load((made / "gateway.yaml").read_text())
    assert gateway["tenants"] == [{"name": "default", "keys": [key_hash(keys["client.key"])]}]
    assert (gateway["admin"]["key"], gateway["monitoring"]["key"]) == (
        key_hash(keys["admin.key"]),
        key_hash(keys["monitor.key"]),
    )
    assert not any(
        key in (made / name).read_text() for key in keys.values() for name in ("gateway.yaml", "monitor.yaml")
    )


def test_the_folder_keeps_others_out_and_the_container_can_read_the_files(made: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o700
    assert {(made / name).stat().st_mode & 0o777 for name in NAMES} == {0o644}


def test_nothing_that_is_there_is_replaced(made: Path) -> None:
    before = {name: (made / name).read_bytes() for name in NAMES}
    assert secrets.make(made) == []
    assert {name: (made / name).read_bytes() for name in NAMES} == before


def test_hashes_follow_a_key_that_is_made_again(made: Path) -> None:
    for name in ("client.key", "gateway.yaml"):
        (made / name).unlink()
    assert secrets.make(made) == ["client.key", "gateway.yaml"]
    assert key_hash((made / "client.key").read_text().strip()) in (made / "gateway.yaml").read_text()


def test_two_machines_have_different_keys(made: Path, tmp_path: Path) -> None:
    secrets.make(tmp_path / "other")
    for name in secrets.KEYS:
        assert (made / name).read_text() != (tmp_path / "other" / name).read_text()


def test_a_webhook_makes_the_monitor_notify(made: Path) -> None:
    assert secrets.make(made, "http://pager:8080/alerts") == ["monitor.yaml", "webhook.url"]
    assert (made / "webhook.url").read_text().strip() == "http://pager:8080/alerts"
    receivers = yaml.safe_load((made / "monitor.yaml").read_text())["alerts"]["receivers"]
    assert receivers == [{"type": "webhook", "url_file": "/run/secrets/webhook.url"}]
    secrets.check(files(made))
    with pytest.raises(UsageError, match="is no URL"):
        secrets.make(made, "pager:8080")


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("gateway.yaml", lambda path: path.unlink(), "is missing; `./lab compose secrets` makes them"),
        ("client.key", lambda path: path.write_text("\n"), "is empty; delete it"),
        ("monitor.key", lambda path: path.chmod(0o600), "uid 10001 in the container cannot read"),
        (
            "gateway.yaml",
            lambda path: path.write_text("tenants: [{name: a, keys: [sk-plain]}]"),
            "a key is configured by its hash",
        ),
        ("gateway.yaml", lambda path: path.write_text("tenant: []"), "tenant: unknown setting"),
        ("gateway.yaml", lambda path: path.write_text("tenants: []\nadmin: {}"), "needs a key to listen"),
        ("monitor.yaml", lambda path: path.write_text("web: {keys: [plain]}"), "a key is given by its hash"),
        ("monitor.yaml", lambda path: path.write_text("web: {}"), "web.keys must name a key"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(made: Path, name: str, spoil: Callable[[Path], None], says: str) -> None:
    spoil(made / name)
    with pytest.raises(DeployError) as refused:
        secrets.check(files(made))
    assert says in str(refused.value)
    assert str(made / name) in str(refused.value)
    assert "sk-plain" not in str(refused.value)
    assert "\n" not in str(refused.value)
