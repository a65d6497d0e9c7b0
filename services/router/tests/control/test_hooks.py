"""The pinned Ray has what the router needs; another one gets one clear line."""

from __future__ import annotations

import pytest
from ray import serve
from ray.serve._private import constants
from ray.serve.request_router import RequestRouter, RunningReplica

from llm_router.control.hooks import MissingHooks, check_hooks


def test_the_pinned_ray_has_all_hooks() -> None:
    check_hooks()


def test_a_missing_option_of_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "deployment", lambda name=None: None)
    with pytest.raises(MissingHooks, match=r"lacks serve.deployment\(max_surge_percent=…\), .*needs Ray 2\.60$"):
        check_hooks()


@pytest.mark.parametrize(("owner", "name"), [(RequestRouter, "update_replicas"), (RunningReplica, "replica_metadata")])
def test_a_missing_method(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(MissingHooks) as missing:
        check_hooks()
    assert f"{owner.__name__}.{name}" in str(missing.value)
    assert len(str(missing.value).splitlines()) == 1


def test_a_renamed_metadata_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "RECORD_REPLICA_METADATA_METHOD", "replica_facts")
    with pytest.raises(MissingHooks, match="record_replica_metadata"):
        check_hooks()
