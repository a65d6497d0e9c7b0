from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_bench.errors import ScenarioError
from llm_bench.workload.arrivals import ClosedLoop
from llm_bench.workload.scenario import Slo, load_scenario, scaled
from llm_bench.workload.schedule import PlannedRequest, draw_mix, draw_schedule

SHIPPED = Path(__file__).parents[2] / "scenarios"
GOOD: dict[str, Any] = {
    "name": "two-classes",
    "duration": 10,
    "arrivals": {"kind": "poisson", "rate": 4},
    "classes": {
        "interactive": {
            "weight": 1,
            "prompt_tokens": {"kind": "fixed", "tokens": 8},
            "output_tokens": {"kind": "uniform", "low": 2, "high": 4},
            "slo": {"ttft": 0.5},
        }
    },
}


def write(folder: Path, values: Any) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def with_class(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "classes": {"interactive": {**GOOD["classes"]["interactive"], **changes}}}


def test_a_scenario_is_read(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))

    assert scenario.classes["interactive"].slo == Slo(ttft=0.5)
    assert scenario.longest_request() == 12
    assert scenario.arrivals.rate == 4


def test_the_shipped_scenario_is_read() -> None:
    assert list(load_scenario(SHIPPED / "mixed-priority.yaml").classes) == ["interactive", "standard", "batch"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**GOOD, "durration": 5}, "durration: unknown key"),
        (with_class(colour="blue"), "classes.interactive.colour: unknown key"),
        (with_class(slo={"ttft": 1, "p99": 2}), "classes.interactive.slo.p99: unknown key"),
        ({**GOOD, "arrivals": {"kind": "poisson", "rate": 4, "burst": 2}}, "arrivals.poisson.burst: unknown key"),
        ({**GOOD, "arrivals": {"kind": "fractal", "rate": 4}}, "arrivals: .*'poisson', 'constant'"),
        ({**GOOD, "arrivals": {"kind": "poisson", "rate": -1}}, "rate: .*greater than 0 .given: -1"),
        ({**GOOD, "duration": 0}, "duration: .*greater than 0 .given: 0"),
        ({**GOOD, "seed": -3}, "seed: "),
        ({**GOOD, "classes": {}}, "classes: .*at least 1"),
        (with_class(weight=0), "classes.interactive.weight: .*greater than 0"),
        (with_class(weight=-2), "classes.interactive.weight: .*given: -2"),
        (with_class(prompt_tokens={"kind": "fixed", "tokens": 0}), "prompt_tokens.fixed.tokens: "),
        (with_class(output_tokens={"kind": "uniform", "low": 9, "high": 3}), "low .9. must not exceed high .3."),
        (with_class(output_tokens={"kind": "lognormal", "median": 9, "sigma": 1}), "output_tokens.lognormal.low: "),
        (with_class(slo={"ttft": -0.5}), "slo.ttft: "),
        ({key: value for key, value in GOOD.items() if key != "arrivals"}, "arrivals: Field required"),
        ({**GOOD, "tenants": {"acme": 1}, "tenant_key_envs": {"zeta": "K"}}, "'zeta', which is not in tenants"),
        ({**GOOD, "tenants": {"acme": 1}, "tenant_key_envs": {"acme": "sk-1a"}}, "and not the key itself$"),
        (["a", "list"], "expected a mapping"),
    ],
)
def test_a_wrong_scenario_is_refused_with_file_and_key(tmp_path: Path, values: Any, message: str) -> None:
    path = write(tmp_path, values)

    with pytest.raises(ScenarioError, match=f"^{path}: .*{message}"):
        load_scenario(path)


def test_a_missing_file_and_broken_yaml_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")

    with pytest.raises(ScenarioError, match=r"nowhere\.yaml: cannot be read"):
        load_scenario(tmp_path / "nowhere.yaml")
    with pytest.raises(ScenarioError, match=r"broken\.yaml: is not YAML"):
        load_scenario(broken)


def test_overrides_are_checked_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)

    assert load_scenario(path, {"duration": 3}).duration == 3
    with pytest.raises(ScenarioError, match="duration"):
        load_scenario(path, {"duration": -3})


def test_the_rate_is_set_or_scaled(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))

    assert scaled(scenario).arrivals.rate == 4
    assert scaled(scenario, rate=7).arrivals.rate == 7
    assert scaled(scenario, scale=1.5).arrivals.rate == 6
    with pytest.raises(ScenarioError, match="above 0"):
        scaled(scenario, rate=0)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_can_be_sent_to_a_model_of_1024_tokens(path: Path) -> None:
    scenario = load_scenario(path)

    draw: Callable[..., list[PlannedRequest]] = draw_schedule
    if isinstance(scenario.arrivals, ClosedLoop):
        draw = partial(draw_mix, count=100)
    schedule = draw(scenario=scenario, corpus="words and words\n" * 500, seed=scenario.seed, salt="s")

    assert scenario.name == path.stem
    assert scenario.description
    assert scenario.longest_request() <= 1024
    assert max(planned.prompt_tokens + planned.max_tokens for planned in schedule) <= scenario.longest_request()
    assert len(schedule) >= 60
    assert len({(planned.earlier, planned.prompt) for planned in schedule}) == len(schedule)
