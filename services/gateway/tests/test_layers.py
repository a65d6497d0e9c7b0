"""The layers in the docstring of `llm_gateway`: no import points upwards."""

from __future__ import annotations

import llm_gateway
from llm_contract.testing.layers import Layers


def test_every_package_and_module_has_a_layer() -> None:
    assert Layers(llm_gateway).without_a_line() == set()


def test_no_import_points_to_a_layer_above() -> None:
    assert Layers(llm_gateway).upward_imports() == []
