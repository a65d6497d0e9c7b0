from __future__ import annotations

import pytest
from pydantic import ValidationError

from llm_monitor.collect.settings import CollectSettings


def test_targets_and_sources_come_from_the_settings() -> None:
    settings = CollectSettings.model_validate(
        {
            "targets": [
                "127.0.0.1:8000",
                {"address": "https://b/m", "job": "gateway", "labels": {"instance": "front"}},
            ],
            "files": ["targets.yaml"],
            "routers": ["router:8080", "https://router/-/targets"],
            "kubernetes": {},
        }
    )
    assert [(target.url, target.job, target.instance) for target in settings.static_targets()] == [
        ("http://127.0.0.1:8000/metrics", "", "127.0.0.1:8000"),
        ("https://b/m", "gateway", "front"),
    ]
    assert [source.name for source in settings.sources()] == [
        "targets.yaml",
        "http://router:8080/-/targets",
        "https://router/-/targets",
        "kubernetes",
    ]
    assert settings.head().seconds == settings.head_seconds


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"targets": ["ftp://x"]}, "no target"),
        ({"targets": [{"address": "a b"}]}, "no target"),
        ({"routers": ["http://"]}, "no target"),
        ({"target": []}, "Extra inputs"),
        ({"interval": 0}, "interval"),
        ({"interval": 0.1, "patience": 0.2}, "patience is 0.2"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(values: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CollectSettings.model_validate(values)
