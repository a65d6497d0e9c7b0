import re
from collections.abc import Callable

from rich.console import Console

from llm_bench.analyse.conditions import CheckedCondition
from llm_bench.analyse.paired import compare_pairs
from llm_bench.analyse.repetitions import estimate_figures
from llm_bench.report.estimates import print_findings, print_pairs, print_repetitions, show
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


def printed(print_it: Callable[[Console], None]) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        print_it(console)
    return capture.get()


def test_pairs_fit_80_columns(make_result: MakeResult) -> None:
    a = [make_result(waits={"interactive": wait}).summary for wait in (0.2, 0.3, 0.25)]
    b = [make_result(waits={"interactive": 2 * wait}).summary for wait in (0.2, 0.3, 0.25)]

    text = printed(
        lambda console: print_pairs(compare_pairs(list(zip(a, b, strict=True))), "vllm-0.10", "new", console)
    )

    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].strip() == "interactive"
    assert re.fullmatch(r" *TTFT P50 +247 ms +493 ms +2.000 +2.000 … 2.000 +0.0% +B worse *", lines[2])
    assert re.fullmatch(r" *TPOT P50 +100 ms +100 ms +1.000 +1.000 … 1.000 +0.0% +no difference shown", lines[4])


def test_repetitions_have_an_interval(make_result: MakeResult) -> None:
    runs = [make_result(waits={"chat": wait}).summary for wait in (0.2, 0.3, 0.4)]

    text = printed(lambda console: print_repetitions(estimate_figures(runs), console))

    assert re.fullmatch(r" *TTFT P50 +300 ms +52 ms … 548 ms +82.8%", text.splitlines()[2])


def test_findings_say_why() -> None:
    text = printed(lambda console: print_findings([CheckedCondition("ttft_p99 > 1s", "failed", "it is 2")], console))

    assert text == "failed  ttft_p99 > 1s: it is 2\n"


def test_values_have_their_units() -> None:
    assert show("chat.ttft_p99", 0.25) == "250 ms"
    assert show("slo_attainment", 0.5) == "50%"
    assert show("goodput", 12.345) == "12.35"
    assert show("goodput", None) == "–"
