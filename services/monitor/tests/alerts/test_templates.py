from __future__ import annotations

import math

import pytest

from llm_monitor.alerts.templates import Template


# Expected values are those of Prometheus 2.42: template/template_test.go and `promtool test rules`.
@pytest.mark.parametrize(
    ("action", "value", "expected"),
    [
        ("$value", 1.0, "1"),
        ("$value", 0.25, "0.25"),
        ("$value", math.inf, "+Inf"),
        ("$value", math.nan, "NaN"),
        ("$value | humanize", 0.0, "0"),
        ("$value | humanize", 1234567.0, "1.235M"),
        ("$value | humanize", 0.00012, "120u"),
        ("$value | humanize", -1500.0, "-1.5k"),
        ("$value | humanize", 999.0, "999"),
        ("$value|humanizePercentage", 0.123456, "12.35%"),
        ("$value | humanizeDuration", 0.0, "0s"),
        ("$value | humanizeDuration", 0.0312, "31.2ms"),
        ("$value | humanizeDuration", 1.5, "1.5s"),
        ("$value | humanizeDuration", 3662.0, "1h 1m 2s"),
        ("$value | humanizeDuration", 90000.0, "1d 1h 0m 0s"),
        ("$value | humanizeDuration", -61.0, "-1m 1s"),
        ("$labels.instance", 1.0, "a:1"),
        ("$labels.missing", 1.0, ""),
    ],
)
def test_actions_render_as_in_prometheus(action: str, value: float, expected: str) -> None:
    assert Template("<{{ " + action + " }}>").render({"instance": "a:1"}, value) == f"<{expected}>"


@pytest.mark.parametrize("action", ["query `up`", "$value | printf", ".Value", "$externalLabels.x", "if true"])
def test_other_actions_are_refused(action: str) -> None:
    with pytest.raises(ValueError, match="is not supported"):
        Template("{{ " + action + " }}")


def test_values_of_labels_are_not_rendered_again() -> None:
    assert Template("{{ $labels.a }}").render({"a": "{{ $value }}"}, 3) == "{{ $value }}"
