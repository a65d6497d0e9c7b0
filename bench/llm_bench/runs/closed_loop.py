"""The closed-loop run behind `capacity`: it keeps the target busy for some seconds and measures its steady rate."""

from __future__ import annotations

import secrets
from pathlib import Path

from llm_bench.analyse.capacity import Capacity, estimate_capacity
from llm_bench.client.credentials import find_credentials
from llm_bench.client.target import find_target
from llm_bench.errors import TargetError
from llm_bench.interrupts import held_interrupts
from llm_bench.load.users import plan_load, run_closed_loop
from llm_bench.measure.uncounted import estimate_uncounted
from llm_bench.runs.run import PLANNED_PER_SECOND, check_fits, probe, text_source
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import draw_mix, expected_tokens


def measure_capacity(
    scenario: Scenario,
    *,
    target_url: str,
    model: str | None,
    api_key_env: str | None,
    users: int,
    duration: float,
    seed: int | None,
    tokenizer: Path | None,
    corpus: Path | None,
) -> Capacity:
    """Keep `users` requests of the mix running for `duration` seconds; return the capacity.

    Raises KeyboardInterrupt on an interrupt, TargetError if the target is too fast or answers nothing.
    """
    credentials = find_credentials(api_key_env, scenario.tenant_key_envs)
    target = find_target(target_url, model, credentials)
    check_fits(scenario, target)
    text, truncate = text_source(corpus, tokenizer)
    count = users + int(PLANNED_PER_SECOND * duration)
    mix = draw_mix(
        scenario,
        count,
        text,
        seed=scenario.seed if seed is None else seed,
        salt=secrets.token_hex(4),
        truncate=truncate,
    )
    load = plan_load(scenario, target, mix, credentials)
    probe(scenario, target, credentials)
    load.drain = 0.0  # what is still running at the end has been counted token by token
    with held_interrupts() as stop:
        run_closed_loop(load, users=users, duration=duration, stop=stop)
    if stop.is_set():
        raise KeyboardInterrupt
    if load.ran_out:
        raise TargetError(
            f"{target.url} was through with all {count} requests early: it does more than {PLANNED_PER_SECOND} a "
            "second, which a closed loop cannot measure; look for its knee with `saturate`, from a high --rate"
        )
    estimate_uncounted(load.records)
    return estimate_capacity(load.records, users=users, duration=duration, expected=expected_tokens(scenario))
