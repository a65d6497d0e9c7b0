"""Every capstone's README says first how it runs in a container."""

from __future__ import annotations

import re

import pytest

from llm_deploy.paths import ROOT


@pytest.mark.parametrize(
    "capstone", ["services/engine", "services/gateway", "services/router", "services/monitor", "bench", "quantize"]
)
def test_run_it_alone_begins_with_compose(capstone: str) -> None:
    page = (ROOT / capstone / "README.md").read_text()
    first = re.search(r"^## Run it alone\n.*?```\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    assert first is not None
    name = capstone.rpartition("/")[2]
    assert f"docker compose -f deploy/compose/{name}.yaml up" in first[1]
