"""One open-loop run, from the scenario to the result on disk."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llm_bench.client.credentials import Credentials, find_credentials
from llm_bench.client.exchange import Exchange
from llm_bench.client.target import Target, find_target
from llm_bench.errors import ScenarioError, TargetError
from llm_bench.interrupts import held_interrupts
from llm_bench.load.send import Sent, send
from llm_bench.load.users import LONGEST_DETAIL, plan_load
from llm_bench.measure.gpu import GpuSampler, find_gpus
from llm_bench.measure.record import OK, REJECTED, fill_record, plan_record
from llm_bench.measure.scrape import Scraper
from llm_bench.measure.stats import describe
from llm_bench.measure.summary import ALL, summarise
from llm_bench.measure.uncounted import estimate_uncounted
from llm_bench.measure.verdict import judge
from llm_bench.results.disk_space import prepare_folder, room_for, write_result
from llm_bench.results.environment import Environment, describe_environment
from llm_bench.results.result import SCHEMA_VERSION, Result, RunInfo
from llm_bench.workload.arrivals import ClosedLoop
from llm_bench.workload.prompts import Truncate, find_corpus, read_corpus, truncate_by_characters, truncate_by_tokenizer
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import PlannedRequest, draw_mix, draw_schedule

PLANNED_PER_SECOND = 200
"""Requests prepared for each second of a closed loop. A faster target needs an open loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    target: str
    model: str | None = None
    name: str | None = None
    seed: int | None = None
    salt: str | None = None
    tokenizer: Path | None = None
    corpus: Path | None = None
    api_key_env: str | None = None
    """Environment variable that holds the API key."""
    metrics: tuple[str, ...] = ()
    """Addresses of the server's metrics; empty means the target's own `/metrics`."""
    workers: int = 1
    """Processes that send."""
    quiet: bool = False


def run(scenario: Scenario, options: RunOptions, folder: Path) -> Result:
    """Send the scenario's load and write the result; an interrupt ends the load early and is in the result.

    Raises KeyboardInterrupt if it comes before anything was sent, or when the result is written.
    """
    with _prepared(folder), ExitStack() as until_written:
        credentials = find_credentials(options.api_key_env, scenario.tenant_key_envs)
        target = find_target(options.target, options.model, credentials)
        check_fits(scenario, target)
        seed = scenario.seed if options.seed is None else options.seed
        salt = options.salt or secrets.token_hex(4)
        corpus, truncate = text_source(options.corpus, options.tokenizer)
        schedule = _plan(scenario, corpus, seed, salt, truncate=truncate)
        with room_for(folder, len(schedule)):
            probe(scenario, target, credentials)
            name = options.name or scenario.name
            environment, started_at = describe_environment(), datetime.now(UTC)
            scraper, gpus = Scraper(target, options.metrics, credentials), find_gpus()
            stop = until_written.enter_context(held_interrupts())
            sent = send(
                scenario,
                target,
                schedule,
                scraper=scraper,
                gpus=gpus,
                credentials=credentials,
                name=name,
                workers=options.workers,
                quiet=options.quiet,
                stop=stop,
            )
            if stop.is_set() and all(record.sent_at is None for record in sent.records):
                raise KeyboardInterrupt
            info = _info(
                target, options, credentials, sent=sent, seed=seed, salt=salt, name=name, started_at=started_at
            )
            result = _conclude(scenario, info, environment, sent=sent, scraper=scraper, gpus=gpus)
        kept = write_result(result, folder)
    if kept.partial is not None:
        print(f"llm-bench: {folder}: {kept.partial}", file=sys.stderr)
    if stop.is_set() and not kept.run.interrupted:
        raise KeyboardInterrupt
    return kept


@contextmanager
def _prepared(folder: Path) -> Iterator[None]:
    """Make the folder; take it away again if nothing came into it."""
    prepare_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _info(
    target: Target,
    options: RunOptions,
    credentials: Credentials,
    *,
    sent: Sent,
    seed: int,
    salt: str,
    name: str,
    started_at: datetime,
) -> RunInfo:
    return RunInfo(
        name=name,
        target=target.url,
        model=target.model,
        server_version=target.version,
        seed=seed,
        salt=salt,
        tokenizer=options.tokenizer.name if options.tokenizer else None,
        started_at=started_at.isoformat(timespec="seconds"),
        interrupted=sent.interrupted,
        client_cpu=sent.client_cpu,
        loop_lag=describe(sent.loop_lag),
        api_key_env=credentials.variable,
    )


def _conclude(
    scenario: Scenario,
    info: RunInfo,
    environment: Environment,
    *,
    sent: Sent,
    scraper: Scraper,
    gpus: GpuSampler | None,
) -> Result:
    estimate_uncounted(sent.records)
    summary = summarise(scenario, sent.records)
    whole = summarise(scenario.model_copy(update={"warm_up": 0.0, "cool_down": 0.0}), sent.records)
    verdict = judge(
        sent.records,
        summary,
        client_cpu=info.client_cpu,
        interrupted=info.interrupted,
        left_out=scenario.left_out,
        loop_lag=info.loop_lag,
        ran_out=sent.ran_out,
    )
    server = scraper.read(sent.epoch, whole.classes[ALL])
    gpu = None
    if gpus is not None:
        gpu = gpus.read(sent.epoch)
        gpus.close()
    return Result(
        schema_version=SCHEMA_VERSION,
        run=info,
        scenario=scenario,
        environment=environment,
        summary=summary,
        verdict=verdict,
        requests=sent.records,
        server=server,
        gpu=gpu,
    )


def text_source(corpus: Path | None, tokenizer: Path | None) -> tuple[str, Truncate]:
    """Return the text for the prompts, and the function that truncates it."""
    return read_corpus(find_corpus(corpus)), truncate_by_tokenizer(tokenizer) if tokenizer else truncate_by_characters


def check_fits(scenario: Scenario, target: Target) -> None:
    longest = scenario.longest_request()
    if target.max_model_len is not None and longest > target.max_model_len:
        raise ScenarioError(
            f"{scenario.name} may draw a request of {longest} tokens, but {target.model} takes {target.max_model_len}: "
            "shorten prompt_tokens or output_tokens"
        )


def probe(scenario: Scenario, target: Target, credentials: Credentials) -> None:
    """Send one short request before the load. Raises TargetError if it fails, as a thousand others would."""
    tenant = next(iter(scenario.tenants), None)
    planned = PlannedRequest(
        index=0,
        scheduled_at=0.0,
        class_name=next(iter(scenario.classes)),
        prompt="def",
        prompt_tokens=1,
        max_tokens=2,
        tenant=tenant,
    )
    load = plan_load(scenario, target, [planned], credentials)
    exchange: Exchange = load.client.send(load.requests[0])
    load.client.close()
    record = plan_record(planned)
    fill_record(record, exchange, exchange.sent_at)
    if record.outcome not in (OK, REJECTED):  # a full queue is a fact worth measuring, not a broken target
        detail = credentials.blot_out(record.detail)[:LONGEST_DETAIL]
        raise TargetError(f"{target.url} fails a first short request ({record.outcome}): {detail}")


def _plan(scenario: Scenario, corpus: str, seed: int, salt: str, *, truncate: Truncate) -> list[PlannedRequest]:
    if isinstance(scenario.arrivals, ClosedLoop):
        count = scenario.arrivals.users + int(PLANNED_PER_SECOND * scenario.duration)
        return draw_mix(scenario, count, corpus, seed=seed, salt=salt, truncate=truncate)
    return draw_schedule(scenario, corpus, seed=seed, salt=salt, truncate=truncate)
