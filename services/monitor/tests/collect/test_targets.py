from __future__ import annotations

import pytest

from llm_monitor.collect.scraper import clock_skew
from llm_monitor.collect.targets import InvalidTarget, detect_job, target_of


@pytest.mark.parametrize(
    ("address", "url", "instance"),
    [
        ("10.0.0.1:8000", "http://10.0.0.1:8000/metrics", "10.0.0.1:8000"),
        ("engine", "http://engine/metrics", "engine"),
        ("https://engine/custom?a=b#c", "https://engine/custom?a=b", "engine"),
        ("http://[::1]:80/", "http://[::1]:80/metrics", "[::1]:80"),
    ],
)
def test_an_address_becomes_a_url(address: str, url: str, instance: str) -> None:
    assert target_of(address).url == url
    assert target_of(address).instance == instance


@pytest.mark.parametrize(
    "address", ["", "http://", "ftp://x/metrics", "x:99999", "x:y", "x:0", "http://[::1", "a b", "http://u:p@x/"]
)
def test_text_that_is_no_url_is_refused(address: str) -> None:
    with pytest.raises(InvalidTarget) as failure:
        target_of(address)
    assert "u:p" not in str(failure.value), "a password must not be shown"


def test_jobs_are_told_by_their_names() -> None:
    assert detect_job(b"# HELP vllm:x y\nvllm:x 1\n") == "engine"
    assert detect_job(b"vllm_x 1\n") == "engine"
    assert detect_job(b"gateway_requests_total 1\n") == "gateway"
    assert detect_job(b'router_load{engine="vllm:"} 1\n') == "router"
    assert detect_job(b"gpu_power_watts 1\n") == "gpu"
    assert detect_job(b"python_info 1\n") == "unknown"


def test_clock_skew_is_none_within_the_headers_second() -> None:
    date = "Thu, 01 Jan 1970 00:01:40 GMT"  # second 100
    assert clock_skew(date, 100.0) == 0
    assert clock_skew(date, 100.9) == 0
    assert clock_skew(date, 99.5) == 0.5
    assert clock_skew(date, 111.0) == -10
    assert clock_skew(date, 111.0, duration=1.0) == -9
    for nonsense in (
        "",
        "nonsense",
        "Thu, 01 Jan 99999 00:00:00 GMT",
        "Thu, 32 Foo 1970 00:01:40 GMT",
        "1 Jan 1 0:0:0 +9999",
    ):
        assert isinstance(clock_skew(nonsense, 100.0), float)
    assert clock_skew("", 100.0) == 0
