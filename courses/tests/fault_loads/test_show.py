"""A running engine with a fault shows its symptoms: in its answers, metrics, log and trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_course.exercises import faults
from llm_course.exercises.faults import FaultLab
from llm_course.fault_loads.client import RUNNING, USAGE, WAITING
from llm_course.fault_loads.show import LOADS, Shown, show
from llm_course.fault_loads.trace import Trace
from llm_course.progress.log import Log

DIFFERING = "answers that differ from an idle engine's"
Check = Callable[[Shown, Trace], None]


def leak(shown: Shown, trace: Trace) -> None:
    assert float(shown.seen[f"{USAGE} after 8 hang-ups, idle"]) >= 0.43  # 8 prompts of 7 blocks, of 130
    assert (shown.seen["one more request"], shown.seen[RUNNING], shown.seen[WAITING]) == ("not answered", 0, 1)
    assert trace.steps[-1]["blocks"]["free"] + trace.steps[-1]["blocks"]["cached"] < 48


def shared_prefix(shown: Shown, trace: Trace) -> None:
    assert shown.seen[DIFFERING] == "1 of 1"
    assert float(shown.seen[f"highest {USAGE}"]) > 0.9
    assert set(trace.shared_without_reason()) - set(trace.preempted())


def slot_of_a_chunk(shown: Shown, trace: Trace) -> None:
    assert shown.seen["long prompts whose answer differs"] != "0 of 3"
    assert shown.seen["short prompts whose answer differs"] == "0 of 21"
    assert trace.odd_chunks()
    assert not trace.preempted()


def long_prompts_starve(shown: Shown, trace: Trace) -> None:
    assert shown.seen["the long prompt"] == "not answered"
    assert int(shown.seen["short answers while it waited"]) >= 120
    steps, admitted = trace.overtaken()
    assert steps > 100
    assert admitted > 100


def stale_table(shown: Shown, trace: Trace) -> None:
    wrong = int(str(shown.seen[DIFFERING]).split()[0])
    assert 0 < wrong < len(set(trace.preempted())), "broken ones were preempted, and some of these are fine"
    assert not trace.shared_without_reason()


def cancel_race(shown: Shown, trace: Trace) -> None:
    assert float(shown.seen[f"{RUNNING}, no client connected"]) > 0
    assert Counter(event["reason"] for event in trace.finished)["abort"] < 50


def stale_hash(shown: Shown, trace: Trace) -> None:
    assert shown.seen["answers to the same prompt that differ from the first"] == "2 of 2"
    assert shown.seen["the last two"] == "are the same"
    assert trace.found_after_eviction()


def host_block_twice(shown: Shown, trace: Trace) -> None:
    assert shown.seen[DIFFERING] != "0 of 6"
    assert len(trace.preempted()) >= 2
    assert trace.host_blocks_taken_twice()


def released_twice(shown: Shown, trace: Trace) -> None:
    assert shown.seen["answers of others that differ"] != "0 of 5"
    assert trace.preempted()
    assert trace.shared_without_reason()


def broken_characters(shown: Shown, trace: Trace) -> None:
    assert (shown.seen["right"], shown.seen["arrived as"]) == ("ü語", "\ufffd")


def leader_gone(shown: Shown, trace: Trace) -> None:
    assert shown.seen["answers to 49 tokens that differ from an idle engine's"] != "0 of 3"
    assert shown.seen["answers to 40 tokens that differ from an idle engine's"] == "none came"
    assert shown.seen[WAITING] == 1
    assert "in _last_is_shared" in shown.log
    assert "IndexError: list index out of range" in shown.log.splitlines()


def wrong_victim(shown: Shown, trace: Trace) -> None:
    assert len(trace.preempted()) > 5
    assert trace.preempted() == trace.oldest_when_preempted()


CHECKS: dict[int, Check] = {
    1: leak, 2: shared_prefix, 3: slot_of_a_chunk, 4: long_prompts_starve, 5: stale_table, 6: cancel_race,
    7: stale_hash, 8: host_block_twice, 9: released_twice, 10: broken_characters, 11: leader_gone, 12: wrong_victim,
}  # fmt: skip


@pytest.mark.parametrize("fault", faults.read_all(), ids=lambda fault: fault.patch.stem)
def test_the_symptoms_show(fault: faults.Fault, tmp_path: Path) -> None:
    folder = FaultLab(Log(tmp_path / "log"), tmp_path).start(fault)
    shown = show(LOADS[fault.number], fault.facts.flags.split(), tmp_path, folder)
    CHECKS[fault.number](shown, Trace(shown.trace))
    assert ("Log       no error." in fault.facts.symptoms) == ("Error" not in shown.log)


@pytest.mark.parametrize("number", [3, 4, 12])
def test_without_the_fault_they_do_not(number: int, tmp_path: Path) -> None:
    shown = show(LOADS[number], faults.find(number).facts.flags.split(), tmp_path, None)
    with pytest.raises(AssertionError):
        CHECKS[number](shown, Trace(shown.trace))


def test_check_invariants_names_the_blocks_that_a_waiting_request_has(tmp_path: Path) -> None:
    fault = faults.find(9)
    folder = FaultLab(Log(tmp_path / "log"), tmp_path).start(fault)
    shown = show(LOADS[9], [*fault.facts.flags.split(), "--check-invariants"], tmp_path, folder)
    assert "waits but owns blocks" in shown.log
