"""`./lab test` selects the tests that are nearest to a change."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from llm_lab.upkeep.changed import module_name, nearest_tests

FILES = {
    "services/gateway/llm_gateway/queue.py": "import os",
    "services/gateway/llm_gateway/app.py": "from llm_gateway.queue import Queue",
    "services/gateway/llm_gateway/policies/__init__.py": "from llm_gateway.policies.aging import Aging",
    "services/gateway/llm_gateway/policies/aging.py": "",
    "services/gateway/tests/test_queue.py": "",
    "services/gateway/tests/test_depth.py": "from llm_gateway import queue",
    "services/gateway/tests/test_app.py": "from llm_gateway.app import App",
    "services/gateway/tests/policies/conftest.py": "",
    "services/gateway/tests/policies/test_order.py": "from llm_gateway.policies import Aging",
    "services/engine/tests/test_queue.py": "",
}


def nearest(*changed: str) -> list[str]:
    files = {PurePosixPath(name): text for name, text in FILES.items()}
    found = nearest_tests([PurePosixPath(name) for name in changed], files)
    return [str(path).removeprefix("services/gateway/tests/") for path in found]


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("services/gateway/llm_gateway/queue.py", ["test_depth.py", "test_queue.py"]),
        ("services/gateway/llm_gateway/app.py", ["test_app.py"]),
        ("services/gateway/llm_gateway/policies/aging.py", ["policies/test_order.py"]),
        ("services/gateway/tests/test_app.py", ["test_app.py"]),
        ("services/gateway/tests/policies/conftest.py", ["policies/test_order.py"]),
        ("README.md", []),
        ("services/gateway/llm_gateway/gone.py", []),
    ],
)
def test_the_tests_nearest_to_a_change(changed: str, tests: list[str]) -> None:
    assert nearest(changed) == tests


def test_module_names() -> None:
    assert module_name(PurePosixPath("bench/llm_bench/report/__init__.py")) == "llm_bench.report"
    assert module_name(PurePosixPath("tests/support.py")) == "tests.support"
