"""The layers in the docstring of `llm_router`: no import points upwards, and only the control plane imports Ray."""

from __future__ import annotations

import llm_router
from llm_contract.testing.layers import Layers


def test_every_package_and_module_has_a_layer() -> None:
    assert Layers(llm_router).without_a_line() == set()


def test_no_import_points_to_a_layer_above() -> None:
    assert Layers(llm_router).upward_imports() == []


def test_only_the_control_plane_imports_ray() -> None:
    users = {own for _, own, name in Layers(llm_router).imports() if name.split(".")[0] == "ray"}
    assert users == {"control"}
