"""The browser's replayer, under node: its states equal the engine's counters at every step of any workload."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from llm_course.paths import DOCS
from llm_course.traces import files
from llm_course.traces.commands import recordings
from llm_course.traces.engine import record
from llm_course.traces.workloads import Arrival, growing, long_prompts, priorities, shared_prefixes

REPLAY = DOCS / "assets" / "js" / "replay.js"
SCRIPT = """
const course = require(process.argv[1]);
const text = require("fs").readFileSync(0, "utf8");
const r = course.replay(text);
const sum = (of) => r.steps.reduce((total, step) => total + of(step), 0);
const engine = r.kind !== "engine" ? {} : {
  evictions: sum((s) => s.event.evicted.length), preemptions: sum((s) => s.event.preempted.length),
  found: r.steps.at(-1).hits.found, tokens: sum((s) => s.sampled.reduce((n, x) => n + x.token_ids.length, 0)),
  events: course.traceEvents(text).filter((event) => event.event !== "recording"),
  ended: r.seqs.every((seq) => seq.state === "finished"), idle: r.seqs.every((seq) => seq.table.length === 0),
};
console.log(JSON.stringify({ kind: r.kind, steps: r.steps.length, mismatches: r.mismatches, ...engine }));
"""
MANY = shared_prefixes(requests=14, seed=2, gap=1.5)
SMALL: dict[str, Any] = {
    "num_gpu_blocks_override": 36,
    "max_model_len": 256,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 64,
}
TIGHT: dict[str, Any] = {"num_gpu_blocks_override": 20, "block_size": 8, "max_model_len": 160, "max_num_seqs": 6}
NGRAM = {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}}
WORKLOADS: dict[str, tuple[dict[str, Any], list[Arrival]]] = {
    "hash": (SMALL, MANY),
    "radix": ({**SMALL, "prefix_cache": "radix"}, MANY),
    "no prefix cache": ({**SMALL, "enable_prefix_caching": False}, MANY),
    "recompute": (TIGHT, growing(requests=6, tokens=50)),
    "swap": ({**TIGHT, "num_cpu_blocks": 40}, growing(requests=6, tokens=50)),
    "radix and swap": ({**SMALL, "num_gpu_blocks_override": 24, "prefix_cache": "radix", "num_cpu_blocks": 30}, MANY),
    "speculation": ({**SMALL, **NGRAM}, MANY),
    "speculation under pressure": ({**TIGHT, **NGRAM}, growing(requests=6, tokens=50)),
    "chunked prefill": ({**SMALL, "max_num_batched_tokens": 16}, long_prompts(decodes=3, prompts=2, words=12)),
    "overlap": ({**SMALL, "num_gpu_blocks_override": 26, "async_scheduling": True}, MANY),
    "priority": ({**SMALL, "scheduling_policy": "priority", "max_num_seqs": 2}, priorities(requests=9, seed=1, gap=1)),
}


def replayed(text: str) -> dict[str, Any]:
    node = shutil.which("node")
    assert node is not None, "node is one of tools/debian-packages"
    command = [node, "-e", SCRIPT, str(REPLAY)]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", WORKLOADS)
def test_states_equal_the_engines_counters(name: str) -> None:
    settings, arrivals = WORKLOADS[name]
    events = record(settings, arrivals)
    found = replayed("".join(json.dumps(event) + "\n" for event in events))
    steps = [event for event in events if event["event"] == "step"]
    assert (found["kind"], found["steps"], found["mismatches"]) == ("engine", len(steps), 0)
    assert found["evictions"] == steps[-1]["blocks"]["evictions"]
    assert found["preemptions"] == sum(len(step["preempted"]) for step in steps)
    assert found["tokens"] == sum(arrival.max_tokens for arrival in arrivals)
    assert found["ended"]
    assert found["idle"]


@pytest.mark.parametrize("name", recordings())
def test_every_recording_replays_without_a_difference(name: str) -> None:
    found = replayed(files.read(name))
    assert found["mismatches"] == 0
    assert found["steps"] >= 20
    if found["kind"] == "engine":
        assert found["events"] == [event for event in files.load(name) if event["event"] != "recording"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 is no JSON"),
        ('{"event": "step"}\n', "its first line has to be the start event"),
        ('{"event": "start", "block_size": 16}\n', "schema 1; the page replays schema 2"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        replayed(text)


def test_a_wrong_counter_is_noticed() -> None:
    text = files.read("paging")
    lines = text.splitlines()
    wrong = next(n for n, line in enumerate(lines) if '"b":[' in line)
    event = json.loads(lines[wrong])
    event["b"][0] += 1
    lines[wrong] = json.dumps(event)
    assert replayed("\n".join(lines))["mismatches"] > 0
