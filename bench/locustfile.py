"""The bench in locust's own clothes: its console, its web UI, its statistics.

    locust -f bench/locustfile.py --host http://127.0.0.1:8000                        # web UI on port 8089
    locust -f bench/locustfile.py --host http://127.0.0.1:8000 --headless -u 1

One user sends the whole open-loop schedule, so the number of users stays 1; `--rate` sets the load. Rows `TTFT` and
`TPOT` stand beside `SSE`, the request from end to end. Locust rounds its percentiles to two digits: for figures to
quote, use `python -m llm_bench run`.
"""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from pathlib import Path

from locust import events

from llm_bench.load import OpenLoopUser, plan_load
from llm_bench.prompts import cut_by_characters, cut_by_tokenizer, find_corpus, read_corpus
from llm_bench.run import check_fits
from llm_bench.scenario import load_scenario, scaled
from llm_bench.schedule import draw_schedule
from llm_bench.target import find_target

SCENARIO = Path(__file__).parent / "scenarios" / "mixed-priority.yaml"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust is untyped to mypy
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--scenario", default=str(SCENARIO), help="scenario file")
    parser.add_argument("--rate", type=float, help="requests per second instead of the scenario's")
    parser.add_argument("--corpus", default="", help="text that prompts are cut from")
    parser.add_argument("--tokenizer", default="", help="tokenizer.json that cuts prompts to exact token counts")


class OpenLoop(OpenLoopUser):
    """Draws the schedule anew each time a test starts, so that every test has prompts that no cache has seen."""

    def on_start(self) -> None:
        options = self.environment.parsed_options
        scenario = scaled(load_scenario(Path(options.scenario)), options.rate)
        target = find_target(self.host, None)
        check_fits(scenario, target)
        corpus = read_corpus(find_corpus(Path(options.corpus) if options.corpus else None))
        cut = cut_by_tokenizer(Path(options.tokenizer)) if options.tokenizer else cut_by_characters
        schedule = draw_schedule(scenario, corpus, seed=scenario.seed, salt=secrets.token_hex(4), cut=cut)
        type(self).load = plan_load(scenario, target, schedule)

    def on_stop(self) -> None:
        """Without a web UI the end of the schedule is the end of the test."""
        if self.environment.web_ui is None:
            self.environment.runner.quit()
