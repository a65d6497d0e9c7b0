"""Equality with a real Prometheus: the same samples, several hundred expressions, at an instant and over a range.

Skipped where the programs are not installed; Debian's package `prometheus` has both.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from tests.support_prometheus import INSTALLED, Steps, prometheus
from tests.support_promql import Memory
from tests.support_samples import BEGIN as FLEET_BEGIN
from tests.support_samples import recorded as fleet_run

from llm_monitor.alerts import AlertEngine, AlertSettings, load
from llm_monitor.promql import EvaluationError, instant, parse, query_range
from llm_monitor.promql.remote import Prometheus
from llm_monitor.series import Matcher, Series
from llm_monitor.series.selection import NAME

pytestmark = pytest.mark.skipif(not INSTALLED, reason="Prometheus is not installed")

# Neither samples nor steps lie on whole seconds: Prometheus 2 counts a sample at a window's very start, 3 does not.
BEGIN = 1_760_000_000.0
SECONDS = 900
STEPS = Steps(BEGIN + 430.123, BEGIN + 880.0, 37.0)
BOUNDS = ("0.1", "0.25", "0.5", "1.0", "2.5", "+Inf")


def recorded() -> Memory:
    """Return three engines' samples with jitter, a restart of one, a gap of another, and odd values."""
    random.seed(17)
    memory = Memory()
    for number, instance in enumerate(("a:1", "b:2", "c:3")):
        times = np.array([BEGIN + 5 * i + random.randint(11, 900) / 1000 for i in range(SECONDS // 5)])
        if number == 1:
            times = np.delete(times, np.s_[90:100])
        if number == 2:
            times = times[40:]
        _engine(memory, instance, times, restarts=number == 0)
    return memory


def _engine(memory: Memory, instance: str, times: np.ndarray, *, restarts: bool) -> None:
    def add(name: str, values: list[float], **labels: str) -> None:
        memory.add(name, list(zip(times, values, strict=True)), job="engine", instance=instance, **labels)

    def counter(largest: int) -> list[float]:
        total, values = 0.0, []
        for index in range(len(times)):
            total = 0.0 if restarts and index == 120 else total + random.randint(0, largest)
            values.append(total)
        return values

    for model in ("x", "y"):
        add("vllm:tokens_total", counter(50), model_name=model)
        add("running", [float(random.randint(0, 9)) for _ in times], model_name=model)
        add("limit", [8.0 if model == "x" else 16.0 for _ in times], model_name=model)
        buckets = np.cumsum([counter(4) for _ in BOUNDS], axis=0)
        for bound, row in zip(BOUNDS, buckets, strict=True):
            add("ttft_bucket", row.tolist(), model_name=model, le=bound)
        add("ttft_count", buckets[-1].tolist(), model_name=model)
    add("usage", [random.random() * 10 ** random.randint(-3, 9) for _ in times])
    add("temperature", [random.gauss(60, 5) for _ in times], gpu="0")
    add("capacity", [random.choice((1.0, 2.0, math.inf)) for _ in times])
    add("info", [1.0 for _ in times], version="1.2-" + instance[0])


def expressions() -> list[str]:
    ranges = ["rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets"]
    ranges += [
        f"{each}_over_time" for each in ["avg", "min", "max", "sum", "count", "last", "stddev", "stdvar", "present"]
    ]
    vectors = ["running", "usage", "vllm:tokens_total", 'running{model_name="x"}', 'running{instance=~"a.*|b:2"}']
    found = [f"{function}({name}[{length}])" for function in ranges for name in vectors for length in ("1m", "4m")]
    found += [f"quantile_over_time({q}, {name}[2m])" for q in (0, 0.5, 0.9, 1, 2, -1) for name in vectors[:3]]
    inner = ["running", "rate(vllm:tokens_total[1m])", "usage", "nothing", "running > 3"]
    for operator, by in itertools.product(
        ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"],
        ("", " by (instance)", " without (instance)", " by (missing)"),
    ):
        found += [f"{operator}{by} ({name})" for name in inner]
    found += [f"quantile by (model_name) ({q}, {name})" for q in (0, 0.3, 0.99, 3) for name in inner]
    found += [f"{f}{by} ({k}, usage)" for f in ("topk", "bottomk") for k in (0, 1, 2, 9) for by in ("", " by (job)")]
    found += [f"histogram_quantile({q}, {v})" for q in (-1, 0, 0.1, 0.5, 0.99, 1, 2) for v in _histograms()]
    for operator in ("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<="):
        found += [f"running {operator} limit", f"running {operator} 4", f"5 {operator} running"]
        found += [f"running {operator} on (instance) group_left () temperature"]
        if operator in ("==", "!=", ">", "<", ">=", "<="):
            found += [f"running {operator} bool limit", f"running {operator} bool 4", f"3 {operator} bool 4"]
    return found + OTHERS + nested(120)


def _histograms() -> list[str]:
    rates = "rate(ttft_bucket[2m])"
    return [rates, f"sum by (le) ({rates})", f"sum by (le, instance) ({rates})", 'ttft_bucket{le!="+Inf"}', "running"]


OTHERS = """
running and running > 5
running or usage
running unless running > 5
running and on (instance) temperature > 60
vllm:tokens_total or on (instance) usage
sum by (instance) (running) unless on (instance) (temperature < 60)
running * on (instance) group_left (version) info
info * on (instance) group_right (version) running
usage / ignoring (gpu) temperature
sum(running) / sum(limit)
sum(rate(vllm:tokens_total[1m])) by (instance) / on (instance) sum by (instance) (running)
running * on (instance) running
temperature * on (job) temperature
absent(nothing)
absent(nothing{a="b", c=~"d"})
absent(running{instance="a:1"})
absent_over_time(nothing{x="y"}[5m])
absent_over_time(running{instance="b:2"}[20s])
absent(sum(nothing))
clamp(running, 2, 5)
clamp(running, 5, 2)
clamp_min(running, 4)
clamp_max(running, 4)
abs(running - 5)
ceil(usage / 7)
floor(usage / 7)
round(usage)
round(usage / 1000, 0.1)
exp(running)
ln(running)
log2(usage)
log10(usage)
sqrt(running - 3)
sgn(running - 4)
time()
time() - timestamp(running)
timestamp(running + 1)
vector(3)
vector(time())
scalar(usage{instance="a:1"})
scalar(usage)
running + scalar(temperature{instance="b:2"})
-running
-(2 ^ 3)
-1 ^ 2
2 ^ 3 ^ 2
1 - 2 - 3
7 % 4
-7 % 4
running / 0
0 / running
sum(running / 0)
max(0 / (running - running))
(0 / (running - running)) or usage
count(0 / (running - running))
sort(running)
sort_desc(usage)
label_replace(running, "host", "$1", "instance", "(.*):(.*)")
label_replace(running, "host", "${p}-$2-$$", "instance", "(?P<p>.*):(.*)")
label_replace(running, "host", "$1", "instance", "nope(.*)")
label_replace(running, "model_name", "", "instance", "a.*")
label_join(running, "both", "/", "instance", "model_name")
label_replace(running, "model_name", "same", "instance", "a.*")
running offset 1m
running offset -30s
rate(vllm:tokens_total[1m] offset 2m)
running @ 1760000500
rate(vllm:tokens_total[1m] @ 1760000600.5)
running @ start()
running @ end() - running @ start()
max_over_time(running[2m:10s])
avg_over_time(rate(vllm:tokens_total[1m])[3m:15s])
quantile_over_time(0.5, sum(running)[3m:7s])
min_over_time((running - 3)[2m:30s] offset 45s)
sum_over_time(rate(vllm:tokens_total[30s])[5m:])
max_over_time(avg_over_time(running[1m])[3m:20s])
count_over_time((running > 5)[4m:11s])
stddev_over_time(usage[5m]) / avg_over_time(usage[5m])
(usage - quantile_over_time(0.5, usage[5m])) / (quantile_over_time(0.9, usage[5m]) - quantile_over_time(0.1, usage[5m]))
capacity
sum_over_time(capacity[2m])
avg(capacity)
max by (instance) (capacity) > 1
{__name__=~"run.*|lim.*", model_name!="y"}
{job="engine", gpu!=""}
running{model_name!~"x|z"}
sum(running{nolabel=""})
count by (version) (info)
count({__name__!=""})
sum by (le) (increase(ttft_bucket[2m]))
1 - (sum(rate(ttft_bucket{le="0.5"}[2m])) / sum(rate(ttft_count[2m])))
(sum(rate(ttft_count[5m])) - sum(rate(ttft_bucket{le="0.5"}[5m]))) / sum(rate(ttft_count[5m])) > 0.1
running > 3 and running < 7
running == running
running != running
running > bool on (instance, model_name) limit
10 < running
""".strip().splitlines()


def nested(count: int) -> list[str]:
    """Return expressions composed at random, the same at every run."""
    choose = random.Random(5)

    def vector(depth: int) -> str:
        if depth == 0:
            return choose.choice(["running", "limit", "usage", "rate(vllm:tokens_total[1m])", "temperature"])
        inner = vector(depth - 1)
        kind = choose.randrange(5)
        if kind == 0:
            by = choose.choice(["", "by (instance)", "by (instance, model_name)", "without (model_name)"])
            return f"{choose.choice(['sum', 'max', 'avg', 'count', 'min'])} {by} ({inner})"
        if kind == 1:
            return f"{choose.choice(['abs', 'sqrt', 'ceil', 'sgn'])}({inner})"
        if kind == 2:
            return f"({inner} {choose.choice(['+', '*', '/', '>', '<=', '=='])} {choose.choice(['2', '0.5', '7'])})"
        if kind == 3:
            return f"({inner} {choose.choice(['+', '-', '/', '>', 'and', 'or', 'unless'])} {vector(depth - 1)})"
        function = choose.choice(["max_over_time", "avg_over_time", "deriv", "delta", "changes"])
        return f"{function}({inner}[121500ms:{choose.choice(['13s', '20s'])}])"

    return [vector(choose.randint(1, 4)) for _ in range(count)]


@pytest.fixture(scope="module")
def memory() -> Memory:
    return recorded()


@pytest.fixture(scope="module")
def address(memory: Memory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(memory.series, tmp_path_factory.mktemp("prometheus")) as served:
        yield served


def refused(text: str, memory: Memory) -> bool:
    try:
        instant(parse(text), memory, STEPS.start)
    except EvaluationError:
        return True
    return False


def test_every_expression_has_the_same_result_in_prometheus(memory: Memory, address: str) -> None:
    every = expressions()
    differences = {text: STEPS.difference(parse(text), memory, address) for text in every}
    wrong = [f"{text}\n    {difference}" for text, difference in differences.items() if difference]
    assert not wrong, f"{len(wrong)} of {len(every)} differ:\n" + "\n".join(wrong[:15])
    assert len(every) > 500
    assert sum(refused(text, memory) for text in every) < 40


REMOTE = ["running", "sum by (le) (rate(ttft_bucket[2m]))", "running > 3", "time()", "0 / (running - running)"]


@pytest.mark.parametrize("text", REMOTE)
async def test_the_remote_queries_have_the_same_results(memory: Memory, address: str, text: str) -> None:
    expression = parse(text)
    ours = query_range(expression, memory, STEPS.start, STEPS.end, step=STEPS.step)
    async with aiohttp.ClientSession() as session:
        served = Prometheus(address, session)
        theirs = await served.query_range(expression, STEPS.start, STEPS.end, step=STEPS.step)
        now = await served.instant(expression, STEPS.start)
    order = [theirs.labels.index(labels) for labels in ours.labels]
    assert len(order) == len(theirs.labels)
    assert (theirs.present[order] == ours.present).all()
    np.testing.assert_allclose(theirs.values[order], ours.values)
    assert sorted(now.labels) == sorted(instant(expression, memory, STEPS.start).labels)


def fleet_with_results(seconds: int) -> Memory:
    """Return what a scripted fleet exports, one scrape a second, and what the rules record of it."""
    fleet, everything = Memory(), [Matcher(NAME, "=~", ".+")]
    fleet.series = fleet_run(seconds, engines=2).select(everything, 0, math.inf)
    engine = AlertEngine(load(AlertSettings()), fleet)
    for second in range(0, seconds, 5):
        engine.evaluate(FLEET_BEGIN + second + 0.25)
    memory = Memory()
    for each in engine.source.select(everything, 0, math.inf):
        kept = ~np.isnan(each.values)  # a stale marker cannot be written as text
        memory.series.append(Series(each.labels, each.times[kept], each.values[kept]))
    return memory


def test_every_built_in_rule_has_the_same_result_in_prometheus(tmp_path: Path) -> None:
    """The rules' expressions on a recorded run, and the series that they record among the samples."""
    memory, steps = fleet_with_results(240), Steps(FLEET_BEGIN + 150.6, FLEET_BEGIN + 235, 7.0)
    rules = list(load(AlertSettings()))
    with prometheus([each for each in memory.series if each.times.size], tmp_path) as served:
        differences = {rule.name: steps.difference(rule.expr, memory, served) for rule in rules}
    assert {name: difference for name, difference in differences.items() if difference} == {}
    assert sum(bool(instant(rule.expr, memory, steps.start).labels) for rule in rules) > 10
