"""The accuracy gate: what the bench reports of a scripted server in a process of its own, against the script.

250 ms to the first token, then gaps of 400 and 100 ms; chunks of 1 and 3 tokens. Medians must be within 2 ms or 1% of
the script, whichever is more, with one stream and with about two hundred at once.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from llm_bench.results import Result, read_result

TTFT, GAPS = 0.25, (0.4, 0.1)
TOKENS = 9
"""In chunks of 1, 3, 1, 3, 1, after gaps of 400, 100, 400 and 100 ms."""
E2E = 0.25 + 2 * sum(GAPS)
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@asynccontextmanager
async def scripted_server() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llm_contract.testing", "--ttft", str(TTFT), "--gaps", "0.4,0.1",
        "--tokens-per-chunk", "1,3", env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def measure(folder: Path, rate: float, duration: float) -> Result:
    fixed = {"kind": "fixed", "tokens": TOKENS}
    values = {
        "name": "accuracy",
        "duration": duration,
        "arrivals": {"kind": "constant", "rate": rate},
        "classes": {"only": {"weight": 1, "prompt_tokens": fixed, "output_tokens": fixed}},
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(values))
    (folder / "corpus.txt").write_text("words and words\n" * 20)
    async with scripted_server() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm_bench", "run", str(folder / "s.yaml"), "--target", url, "--quiet",
            "--corpus", str(folder / "corpus.txt"), "--out", str(folder / "out"), env=ENVIRONMENT,
        )  # fmt: skip
        assert await asyncio.wait_for(process.wait(), 60) == 0
    return read_result(folder / "out")


@pytest.mark.parametrize("streams", [1, 200])
async def test_what_is_reported_is_the_script(tmp_path: Path, streams: int) -> None:
    result = await measure(tmp_path, rate=streams / E2E * 0.9, duration=max(2.5 * E2E, 3.0))
    figures = result.summary.classes["only"]
    gaps = [gap for record in result.requests for gap, _ in record.chunk_gaps()]

    def near(value: float) -> object:
        return pytest.approx(value, abs=max(0.002, 0.01 * value))

    assert figures.completed == figures.requests
    assert figures.ttft_from_send.p50 == near(TTFT)
    assert figures.tpot.p50 == near(2 * sum(GAPS) / (TOKENS - 1))
    assert figures.e2e.p50 == near(E2E)
    assert figures.schedule_lag.p50 == near(0.0)
    assert np.percentile(gaps, [25, 75]).tolist() == [near(0.1), near(0.4)]
    assert figures.itl_token.p50 == near(0.4 / 3)
    assert {tuple(record.chunk_tokens) for record in result.requests} == {(1, 3, 1, 3, 1)}
