"""Small traces with known answers; a profile and a log recorded on an H200; and the profiler on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from exercise import Event, covered, filled, headroom, read_smi, read_trace, self_times, shares

from llm_course.paths import MODELS, ROOT

RECORDED = Path(__file__).parents[1] / "recorded"
POWER_LIMIT = 700
"""Watts of an H200."""
ON_DEVICE = ("kernel", "gpu_memcpy")


def entry(name: str, begin: float, length: float, **more: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": 7, "ts": begin, "dur": length, **more}


def test_a_trace_has_more_than_events() -> None:
    """Two of six entries have a length; arrows, names and instants do not. The events come in order of time."""
    trace = {
        "traceEvents": [
            {"ph": "M", "name": "process_name", "pid": 0, "tid": 0, "ts": 0.0, "args": {"name": "python"}},
            entry("later", 50.0, 5.0, args={"grid": [4, 3, 2], "stream": 7}),
            {"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 1, "pid": 0, "tid": 0, "ts": 9.0},
            {"ph": "f", "cat": "ac2g", "name": "ac2g", "id": 1, "pid": 0, "tid": 7, "ts": 10.0, "bp": "e"},
            entry("earlier", 10.0, 30.0, cat="cpu_op", tid=3),
            {"ph": "i", "name": "Record Window End", "pid": "", "tid": "", "ts": 99.0, "s": "g"},
        ]
    }
    assert read_trace(trace) == [
        Event(10.0, 40.0, "earlier", "cpu_op", 3, 0),
        Event(50.0, 55.0, "later", "kernel", 7, 24),
    ]


def test_overlapping_kernels_count_once() -> None:
    """Kernels from 0 to 10 and from 5 to 12 on two streams: the device is busy for 12 µs, not 17."""
    assert covered([Event(5, 12), Event(0, 10)]) == 12


def test_a_kernel_inside_another_covers_nothing_new() -> None:
    """Kernels from 0 to 20, 2 to 4 and 10 to 30: after the short one, the long one is still running."""
    assert covered([Event(0, 20), Event(2, 4), Event(10, 30)]) == 30


def test_gaps_are_no_kernels_time() -> None:
    """Kernels from 0 to 10 and from 40 to 50: the device is busy for 20 µs."""
    assert covered([Event(0, 10), Event(40, 50)]) == 20


def test_shares_of_a_period() -> None:
    """In 100 µs attention takes 20, linear layers 40, a copy 10, and in the other 30 nothing runs."""
    events = [
        Event(0, 20, "paged_attention_kernel"),
        Event(20, 60, "nvjet_sm90_tst_8x64"),
        Event(80, 90, "Memcpy DtoH (Device -> Pinned)", "gpu_memcpy"),
    ]
    assert shares(events, 100) == pytest.approx({"attention": 0.2, "linear": 0.4, "other": 0.1, "gaps": 0.3})


def test_shares_when_streams_overlap() -> None:
    """Attention and a linear layer at the same time, 10 µs of 20: each has half, and so have the gaps."""
    events = [Event(0, 10, "paged_attention_kernel"), Event(0, 10, "gemm")]
    assert shares(events, 20) == pytest.approx({"attention": 0.5, "linear": 0.5, "gaps": 0.5})


def test_a_call_inside_another_counts_once() -> None:
    """aten::linear takes 100 µs, of which 70 are aten::addmm inside it, of which 20 are a copy: 30, 50 and 20."""
    calls = [
        Event(10, 80, "aten::addmm", "cpu_op"),
        Event(0, 100, "aten::linear", "cpu_op"),
        Event(20, 40, "aten::copy_", "cpu_op"),
    ]
    assert self_times(calls) == {"aten::linear": 30, "aten::addmm": 50, "aten::copy_": 20}


def test_a_call_after_another_is_not_inside_it() -> None:
    """Two children of one call, back to back, and a call that begins when the parent ends."""
    calls = [Event(0, 10, "parent"), Event(0, 4, "child"), Event(4, 10, "child"), Event(10, 15, "next")]
    assert self_times(calls) == {"parent": 0, "child": 10, "next": 5}


def test_threads_do_not_nest() -> None:
    """A call of another thread during a call of this one is not inside it."""
    calls = [Event(0, 100, "here", thread=1), Event(10, 60, "there", thread=2)]
    assert self_times(calls) == {"here": 100, "there": 50}


def test_one_block_does_not_fill_a_gpu() -> None:
    """One of 132 multiprocessors has work for 50 µs, then 66 for 20, then all for 30: on average 40 per cent."""
    kernels = [Event(0, 50, blocks=1), Event(50, 70, blocks=66), Event(70, 100, blocks=4000)]
    assert filled(kernels, 132, 100) == pytest.approx((50 / 132 + 10 + 30) / 100)


def test_smi_has_units_and_holes() -> None:
    """`18 %` is 18, `123.65 W` is 123.65, and a sensor that is not there reads None, not 0."""
    text = (
        "timestamp, utilization.gpu [%], power.draw [W], fan.speed [%]\n"
        "2026/11/29 10:42:49.620, 18 %, 123.65 W, [N/A]\n"
        "2026/11/29 10:42:49.720, 100 %, [Not Supported], 0 %\n"
    )
    assert read_smi(text) == [
        {"utilization.gpu": 18.0, "power.draw": 123.65, "fan.speed": None},
        {"utilization.gpu": 100.0, "power.draw": None, "fan.speed": 0.0},
    ]


def test_the_largest_part_is_not_the_first_to_work_on() -> None:
    """Linear layers take 38 of 44 ms and cannot take less than 37; the gaps of 3 ms could vanish."""
    found = headroom({"linear": 38.0, "attention": 3.0, "gaps": 3.0}, {"linear": 37.0, "attention": 3.5})
    assert found == [("gaps", 3.0), ("linear", 1.0), ("attention", 0.0)]


def test_the_recorded_gpu_waits_for_its_host(record_property: Callable[[str, object], None]) -> None:
    """Eight sequences of the main model on an H200: no kernel runs in most of a step, so `gaps` is the largest part."""
    trace = recorded()
    events = [event for event in read_trace(trace) if event.category in ON_DEVICE]
    found = shares(events, trace["steps"] * trace["step_milliseconds"] * 1e3)
    record_property("prediction", round(100 * (1 - found["gaps"]), 1))
    assert max(found, key=lambda part: found[part]) == "gaps"
    assert found["linear"] > found["attention"] > found["sampling"] > 0
    assert sum(found.values()) == pytest.approx(1, abs=0.01)


def test_a_full_gpu_can_be_empty() -> None:
    """One block spins on an H200: nvidia-smi says 100 %, and the power is that of a chip that has little to do."""
    rows = read_smi((RECORDED / "smi.csv").read_text(encoding="utf-8"))
    busy = [row for row in rows if row["utilization.gpu"] == 100]
    assert len(busy) > 20
    assert [row["power.draw"] for row in busy if row["power.draw"] > 0.2 * POWER_LIMIT] == []
    assert filled([Event(0, 100, blocks=1)], recorded()["num_sms"], 100) < 0.01


def test_where_to_begin_on_the_recorded_steps() -> None:
    """Llama-3-8B on an H200: at batch 1 linear layers take most of the step, and have less to lose than others."""
    text = (ROOT / "services/engine/results/gpu_profile_h200.json").read_text(encoding="utf-8")
    step = json.loads(text)["shapes"]["llama3-8b"]["batch_1"]
    parts, floor = step["groups_milliseconds"], step["floor_milliseconds"]
    gains = headroom({**parts, "gaps": step["step_milliseconds"] - step["device_busy_milliseconds"]}, floor)
    assert max(parts, key=lambda part: parts[part]) == "matrix products"
    assert [part for part, _ in gains[:2]] == ["norms, activation, rotary embedding", "attention"]


def test_the_profiler_on_this_machine() -> None:
    """The engine on a CPU: self times add up to the covered time, which total times exceed."""
    calls = [event for event in read_trace(profiled_here()) if event.category == "cpu_op"]
    thread = max((call.thread for call in calls), key=[call.thread for call in calls].count)
    calls = [call for call in calls if call.thread == thread]
    assert len(calls) > 100
    assert sum(self_times(calls).values()) == pytest.approx(covered(calls), rel=0.01)
    assert sum(call.end - call.begin for call in calls) > 1.2 * covered(calls)


@cache
def recorded() -> dict[str, Any]:
    trace: dict[str, Any] = json.loads((RECORDED / "trace.json").read_text(encoding="utf-8"))
    return trace


@cache
def profiled_here() -> dict[str, Any]:
    """Profile two requests on the CPU and return the trace of torch's operators."""
    import tempfile

    import torch

    from llm_engine import LLM, SamplingParams

    settings: dict[str, Any] = {"num_gpu_blocks_override": 32, "max_model_len": 64, "attention_backend": "torch"}
    llm = LLM(str(MODELS / "zoo" / "llama"), **settings)
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        llm.generate([[5, 6, 7], [8, 9]], params, use_tqdm=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return trace
