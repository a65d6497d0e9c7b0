"""The bench in locust's console and web UI, with its statistics, its master and its workers.

    locust -f bench/locustfile.py --host http://127.0.0.1:8000                        # web UI on port 8089
    locust -f bench/locustfile.py --host http://127.0.0.1:8000 --headless
    locust -f bench/locustfile.py --host http://127.0.0.1:8000 --headless --master --expect-workers 2
    locust -f bench/locustfile.py --worker                                            # twice, also on other machines

`--scenario` and `--rate` set the load, not locust's number of users: each sending process has one user, and workers
share one schedule. The rows `TTFT`, `TPOT` and `ITL` (per token) follow `SSE`, the whole request, and have a tab of
their own in the web UI. Percentiles are good to four digits; figures to quote, with their intervals and a verdict, come
from `python -m llm_bench run`.
"""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.runners import WorkerRunner

from llm_bench.client.credentials import find_credentials
from llm_bench.client.target import find_target
from llm_bench.errors import BenchError
from llm_bench.load.partition import renumber, split
from llm_bench.load.users import Load, OpenLoopUser, plan_load
from llm_bench.locust_ui.history import History
from llm_bench.locust_ui.rows import print_rows
from llm_bench.locust_ui.share import OneUserPerProcess, Share, Sharing
from llm_bench.locust_ui.stats import keep_four_digits, log_record
from llm_bench.locust_ui.web import add_tab
from llm_bench.runs.run import check_fits, text_source
from llm_bench.workload.scenario import load_scenario, scaled
from llm_bench.workload.schedule import draw_schedule

SCENARIO = Path(__file__).parent / "scenarios" / "mixed-priority.yaml"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust is untyped to mypy
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--scenario", default=str(SCENARIO), help="scenario file")
    parser.add_argument("--rate", type=float, help="requests per second instead of the scenario's")
    parser.add_argument("--corpus", default="", help="text that prompts are cut from")
    parser.add_argument("--tokenizer", default="", help="tokenizer.json that cuts prompts to exact token counts")
    parser.add_argument("--api-key-env", default="", help="environment variable that holds the target's API key")


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_: Any) -> None:
    keep_four_digits()
    OpenLoop.sharing = OneUser.sharing = Sharing(environment)
    if not isinstance(environment.runner, WorkerRunner):
        events.quit.add_listener(lambda **_: print_rows(environment.stats))
    if environment.web_ui is not None:
        history = History()
        environment.events.test_start.add_listener(history.begin)
        gevent.spawn(history.watch, environment)
        add_tab(environment, history)


class OneUser(OneUserPerProcess):
    pass


class OpenLoop(OpenLoopUser):
    """The user that sends this process's share; each test draws new prompts, which no cache has seen."""

    fixed_count = 0
    sharing: Sharing

    def on_start(self) -> None:
        type(self).load = None
        share = self.sharing.take()
        if share is None:
            return
        try:
            load = plan(self.environment.parsed_options, self.host, share)
        except BenchError as error:
            self.sharing.end(str(error))
            return
        load.on_end = partial(log_record, self.environment)
        load.starts_at = self.sharing.wait_for_go()
        type(self).load = load

    def on_stop(self) -> None:
        if self.load is not None:
            self.load.client.close()
            self.sharing.end()


def plan(options: Any, host: str, share: Share) -> Load:
    """Plan this process's part of the scenario's load."""
    rate = float(options.rate) if options.rate else None  # the web UI's form has it as text
    scenario = scaled(load_scenario(Path(options.scenario)), rate)
    credentials = find_credentials(options.api_key_env or None, scenario.tenant_key_envs)
    target = find_target(host, None, credentials)
    check_fits(scenario, target)
    corpus, truncate = text_source(
        Path(options.corpus) if options.corpus else None, Path(options.tokenizer) if options.tokenizer else None
    )
    schedule = draw_schedule(scenario, corpus, seed=scenario.seed, salt=share.salt, truncate=truncate)
    part = renumber(split(schedule, share.of)[share.number])
    return plan_load(scenario, target, part, credentials)
