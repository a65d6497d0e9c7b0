from __future__ import annotations

import pytest

from llm_measure.processes import python, scripted_engine


def test_a_server_lives_as_long_as_its_block() -> None:
    with python(*scripted_engine("--model", "main")) as server:
        assert server.metric("vllm:num_requests_running") == 0.0
        assert server.resident_bytes() > 0
        assert server.process.poll() is None
    assert server.process.poll() is not None


def test_a_server_that_ends_before_it_listens() -> None:
    with pytest.raises(RuntimeError, match="ended before it listened"), python("-c", "pass"):
        pass


def test_an_engine_names_itself_before_its_url() -> None:
    serve = "import time; print('reads http://config', 'llm-engine 1.0 on http://127.0.0.1:9', sep='\\n', flush=True)"
    with python("-c", f"{serve}; time.sleep(600)") as server:
        assert server.url == "http://127.0.0.1:9"
