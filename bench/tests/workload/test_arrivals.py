import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.workload.arrivals import (
    ClosedLoop,
    ConstantArrivals,
    DiurnalArrivals,
    GammaArrivals,
    OnOffArrivals,
    PoissonArrivals,
    RampArrivals,
    SpikeArrivals,
    StepArrivals,
    SyntheticArrivals,
)


@given(rate=st.floats(0.5, 200), duration=st.floats(0.5, 60), seed=st.integers(0, 2**32 - 1))
def test_poisson_arrivals_are_sorted_within_the_window_and_as_many_as_asked(
    rate: float, duration: float, seed: int
) -> None:
    times = PoissonArrivals(kind="poisson", rate=rate).draw(duration, np.random.default_rng(seed))

    assert len(times) == round(rate * duration)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < duration)).all()


def test_gaps_of_poisson_arrivals_are_exponential() -> None:
    gaps = np.sort(np.diff(PoissonArrivals(kind="poisson", rate=50).draw(400.0, np.random.default_rng(3))))

    expected = 1 - np.exp(-50 * gaps)
    distance = np.abs(np.arange(1, len(gaps) + 1) / len(gaps) - expected).max()
    assert distance < 1.63 / np.sqrt(len(gaps))  # Kolmogorov-Smirnov, 1% level


def test_counts_of_poisson_arrivals_vary_as_much_as_their_mean() -> None:
    times = PoissonArrivals(kind="poisson", rate=20).draw(1000.0, np.random.default_rng(4))

    counts, _ = np.histogram(times, bins=1000)
    assert counts.mean() == 20
    assert 0.85 < counts.var() / counts.mean() < 1.15


def test_gaps_of_poisson_arrivals_do_not_know_each_other() -> None:
    gaps = np.diff(PoissonArrivals(kind="poisson", rate=20).draw(1000.0, np.random.default_rng(5)))

    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / np.sqrt(len(gaps))


@pytest.mark.parametrize(("rate", "duration", "count"), [(4.0, 2.0, 8), (3.0, 1.1, 4), (0.4, 1.0, 1)])
def test_constant_arrivals_keep_their_step(rate: float, duration: float, count: int) -> None:
    times = ConstantArrivals(kind="constant", rate=rate).draw(duration, np.random.default_rng(0))

    assert len(times) == count
    assert np.allclose(times, np.arange(count) / rate)


ALL: list[SyntheticArrivals] = [
    PoissonArrivals(kind="poisson", rate=20),
    ConstantArrivals(kind="constant", rate=20),
    GammaArrivals(kind="gamma", rate=20, burstiness=0.25),
    OnOffArrivals(kind="on_off", rate=20, burst=1, lull=3, quiet=0.1),
    RampArrivals(kind="ramp", start=0, end=40),
    StepArrivals(kind="steps", rates=(10, 30)),
    DiurnalArrivals(kind="diurnal", rate=20, swing=1, period=10),
    SpikeArrivals(kind="spike", rate=10, peak=110, at=4, lasts=2),
]


@pytest.mark.parametrize("arrivals", ALL, ids=lambda arrivals: arrivals.kind)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_kind_is_sorted_within_the_window_as_many_as_asked_and_drawn_from_its_seed(
    arrivals: SyntheticArrivals, seed: int
) -> None:
    times = arrivals.draw(20.0, np.random.default_rng(seed))

    assert arrivals.mean_rate(20.0) == 20.0
    assert len(times) == 400
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < 20)).all()
    assert (times == arrivals.draw(20.0, np.random.default_rng(seed))).all()
    assert len(arrivals.scaled(0.5).draw(20.0, np.random.default_rng(seed))) == 200


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_of_gamma_arrivals_vary_as_asked(burstiness: float) -> None:
    gaps = np.diff(GammaArrivals(kind="gamma", rate=50, burstiness=burstiness).draw(400, np.random.default_rng(1)))

    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


def test_bursts_and_lulls_have_their_lengths_and_rates() -> None:
    """A quarter of the time at full rate, the rest at a tenth of it: 20 = full (0.25 + 0.75 / 10)."""
    arrivals = OnOffArrivals(kind="on_off", rate=20, burst=10, lull=30, quiet=0.1)

    counts, _ = np.histogram(arrivals.draw(40_000, np.random.default_rng(2)), bins=40_000)

    full = 20 / (0.25 + 0.075)
    assert (counts > full / 2).mean() == pytest.approx(0.25, abs=0.03)
    assert counts[counts > full / 2].mean() == pytest.approx(full, rel=0.05)
    assert counts[counts < full / 4].mean() == pytest.approx(full / 10, rel=0.1)


def test_a_silent_lull_has_no_arrivals() -> None:
    times = OnOffArrivals(kind="on_off", rate=20, burst=5, lull=5).draw(1000, np.random.default_rng(3))

    assert np.diff(times).max() > 5


def test_a_ramp_has_three_quarters_of_its_arrivals_in_its_second_half() -> None:
    times = RampArrivals(kind="ramp", start=0, end=40).draw(100, np.random.default_rng(4))

    assert (times >= 50).mean() == pytest.approx(0.75, abs=0.03)


def test_each_step_has_exactly_its_share() -> None:
    times = StepArrivals(kind="steps", rates=(2, 0, 8)).draw(30, np.random.default_rng(5))

    assert np.histogram(times, bins=3, range=(0, 30))[0].tolist() == [20, 0, 80]


def test_a_day_has_its_peak_in_its_first_half() -> None:
    """The share of a whole sine's upper half: (1 + 2 swing / pi) / 2."""
    times = DiurnalArrivals(kind="diurnal", rate=50, swing=0.6, period=60).draw(600, np.random.default_rng(6))

    assert (times % 60 < 30).mean() == pytest.approx((1 + 1.2 / np.pi) / 2, abs=0.01)


def test_a_spike_is_where_it_was_put() -> None:
    times = SpikeArrivals(kind="spike", rate=10, peak=110, at=4, lasts=2).draw(20, np.random.default_rng(7))

    assert ((times >= 4) & (times < 6)).sum() == pytest.approx(220, abs=40)
    assert SpikeArrivals(kind="spike", rate=10, peak=20, at=19, lasts=9).mean_rate(20) == pytest.approx(10.5)


def test_thinking_of_a_closed_loop_has_its_mean() -> None:
    loop = ClosedLoop(kind="closed", users=3, think=0.5)

    assert loop.draw_thinking(20_000, np.random.default_rng(8)).mean() == pytest.approx(0.5, rel=0.03)
    assert not ClosedLoop(kind="closed", users=3).draw_thinking(5, np.random.default_rng(8)).any()
