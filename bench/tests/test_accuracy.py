"""Accuracy: compare what the bench reports of scripted servers in processes of their own, against the script.

One server keeps 250 ms to the first token, then gaps of 400 and 100 ms, in chunks of 1 and 3 tokens. One has bad days:
it stalls, resets streams, is slow with its headers, or has a clock that is a day ahead (`support_bad_days`). Medians
must be within 2 ms or 1% of the script, whichever is more, with one stream and with about two hundred at once. One
stream leaves the processes idle in between, and a machine that is short of memory or caches wakes them late: a plain
client measures that first, and the bound grows by three times what it saw.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml

from llm_bench.measure.record import RequestRecord
from llm_bench.results.result import Result, read_result

TTFT, GAPS = 0.25, (0.4, 0.1)
TOKENS = 9
"""In chunks of 1, 3, 1, 3, 1, after gaps of 400, 100, 400 and 100 ms."""
MOST_LATE = 0.01
"""Seconds; a machine that is later than this cannot judge accuracy, and the test fails."""
E2E = 0.25 + 2 * sum(GAPS)
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
STEADY = ("-m", "llm_contract.testing", "--ttft", str(TTFT), "--gaps", "0.4,0.1", "--tokens-per-chunk", "1,3")
BAD_DAYS = (str(Path(__file__).with_name("support_bad_days.py")),)


@asynccontextmanager
async def server(arguments: Sequence[str]) -> AsyncIterator[str]:
    """A Python program that prints its URL first."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def measure(
    folder: Path, program: Sequence[str], classes: Sequence[str], rate: float, duration: float, tokens: int
) -> Result:
    fixed = {"kind": "fixed", "tokens": tokens}
    kind = {"weight": 1, "prompt_tokens": fixed, "output_tokens": fixed}
    values = {
        "name": "accuracy",
        "duration": duration,
        "arrivals": {"kind": "constant", "rate": rate},
        "classes": dict.fromkeys(classes, kind),
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(values))
    (folder / "corpus.txt").write_text("words and words\n" * 20)
    async with server(program) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm_bench", "run", str(folder / "s.yaml"), "--target", url, "--quiet",
            "--corpus", str(folder / "corpus.txt"), "--out", str(folder / "out"), env=ENVIRONMENT,
        )  # fmt: skip
        assert await asyncio.wait_for(process.wait(), 60) == 0
    return read_result(folder / "out")


@dataclass(frozen=True)
class Near:
    """Equality within 2 ms or 1%, and three times how late this machine is."""

    late: float

    def __call__(self, value: float) -> object:
        return pytest.approx(value, abs=max(0.002, 0.01 * value) + 3 * self.late)


async def near_on_this_machine(streams: int) -> Near:
    """Return the bound: for one stream, by a plain client after pauses; many streams keep the processes awake."""
    if streams > 1:
        return Near(0.0)
    async with server(STEADY) as url:
        late = float(np.median([await first_byte(url) for _ in range(6)])) - TTFT
        return Near(min(max(0.0, late), MOST_LATE))


async def first_byte(url: str) -> float:
    """Return the seconds until a plain client has the first event of a stream of one token, after a pause."""
    await asyncio.sleep(0.4)
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = b'{"model": "scripted", "prompt": "a", "max_tokens": 1, "stream": true}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    sent = time.perf_counter()
    writer.write(head.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"data: ")
    seconds = time.perf_counter() - sent
    await reader.read()
    writer.close()
    return seconds


def median(records: Sequence[RequestRecord], read: Callable[[RequestRecord], float | None]) -> float:
    return float(np.median([value for record in records if (value := read(record)) is not None]))


def median_gaps(records: Sequence[RequestRecord], count: int) -> list[float]:
    """Between the tokens of a request, each over all requests; where one read brought two tokens it is left out."""
    whole = [np.diff(record.chunk_times) for record in records if len(record.chunk_times) == count + 1]
    assert len(whole) > len(records) / 2
    return [float(gap) for gap in np.median(whole, axis=0)]


@pytest.mark.parametrize("streams", [1, 200])
async def test_what_is_reported_is_the_script(tmp_path: Path, streams: int) -> None:
    duration = 7 * E2E if streams == 1 else 3.0
    near = await near_on_this_machine(streams)
    result = await measure(tmp_path, STEADY, ["only"], streams / E2E * 0.9, duration, TOKENS)
    figures = result.summary.classes["only"]
    gaps = [gap for record in result.requests for gap in record.chunk_gaps()]

    assert figures.completed == figures.requests
    assert figures.ttft_from_send.p50 == near(TTFT)
    assert figures.tpot.p50 == near(2 * sum(GAPS) / (TOKENS - 1))
    assert figures.e2e.p50 == near(E2E)
    assert figures.schedule_lag.p50 == near(0.0)
    assert np.percentile(gaps, [25, 75]).tolist() == [near(0.1), near(0.4)]
    assert figures.itl_token.p50 == near(0.4 / 3)
    chunks = Counter(tuple(record.chunk_tokens) for record in result.requests)
    assert chunks.most_common(1)[0][0] == (1, 3, 1, 3, 1)
    assert {sum(tokens) for tokens in chunks} == {TOKENS}  # now and then one read brings two chunks


@pytest.mark.parametrize("streams", [1, 200])
async def test_bad_days_are_reported_as_they_are(tmp_path: Path, streams: int) -> None:
    """Five tokens each; a request takes 0.85 s on average, 1.25 s at most."""
    kinds = ["stall", "slow-headers", "clock-ahead", "reset"]
    rate, duration = (0.8, 30.0) if streams == 1 else (streams / 0.85, 4.0)
    near = await near_on_this_machine(streams)
    result = await measure(tmp_path, BAD_DAYS, kinds, rate, duration, tokens=5)
    of = {kind: [record for record in result.requests if record.class_name == kind] for kind in kinds}
    figures = result.summary.classes

    for kind in kinds:
        assert median(of[kind], lambda record: record.ttft_from_send) == near(0.25)
        assert figures[kind].schedule_lag.p50 == near(0.0)
    assert median_gaps(of["stall"], 4) == [near(0.05), near(0.05), near(0.6), near(0.05)]
    assert figures["stall"].itl_chunk.max == pytest.approx(0.6, abs=0.05)
    assert figures["stall"].tpot.p50 == near(0.75 / 4)
    assert median(of["slow-headers"], _to_headers) == near(0.2)
    assert median(of["stall"], _to_headers) == near(0.0)
    assert figures["slow-headers"].e2e.p50 == near(0.25 + 4 * 0.1)
    assert median_gaps(of["clock-ahead"], 4) == [near(0.4), near(0.1), near(0.4), near(0.1)]
    assert figures["clock-ahead"].e2e.p50 == near(1.25)

    assert {record.outcome for record in of["reset"]} == {"reset"}
    assert median_gaps(of["reset"], 2) == [near(0.1), near(0.1)]
    assert figures["reset"].ttft.count == 0  # what failed is in no latency
    assert (figures["reset"].failed, figures["reset"].output_tokens) == (len(of["reset"]), 3 * len(of["reset"]))
    assert f"{len(of['reset'])} of {len(result.requests)} requests failed" in " ".join(result.verdict.reasons)


def _to_headers(record: RequestRecord) -> float | None:
    return None if record.headers_at is None or record.sent_at is None else record.headers_at - record.sent_at
