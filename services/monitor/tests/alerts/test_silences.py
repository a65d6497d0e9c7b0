from __future__ import annotations

import pytest

from llm_monitor.alerts.silences import MAX_SILENCES, RETENTION, InvalidSilence, Silences
from llm_monitor.series import Matcher

LABELS = (("alertname", "Down"), ("instance", "a:1"))
DOWN = Matcher("alertname", "=", "Down")


def test_a_silence_mutes_what_all_its_conditions_meet_while_it_lasts() -> None:
    silences = Silences()
    silence = silences.add([DOWN, Matcher("instance", "=~", "a:.*")], starts=10, ends=20)
    assert [bool(silences.muted_by(LABELS, at)) for at in (9, 10, 19, 20)] == [False, True, True, False]
    assert silences.muted_by((("alertname", "Down"), ("instance", "b:1")), 15) == []
    assert silences.muted_by(LABELS, 15) == [silence.id]


def test_an_expired_silence_is_listed_for_a_while() -> None:
    silences = Silences()
    silence = silences.add([DOWN], starts=10, ends=1000)
    silences.expire(silence.id, 15)
    assert silences.muted_by(LABELS, 15) == []
    silences.forget(15 + RETENTION - 1)
    assert len(list(silences)) == 1
    silences.forget(15 + RETENTION)
    assert list(silences) == []
    with pytest.raises(KeyError):
        silences.expire(silence.id, 15)


def test_a_silence_of_everything_or_of_no_time_is_refused() -> None:
    silences = Silences()
    for matchers in ([], [Matcher("alertname", "=~", ".*")], [Matcher("x", "!=", "y")]):
        with pytest.raises(InvalidSilence, match="condition"):
            silences.add(matchers, starts=0, ends=10)
    with pytest.raises(InvalidSilence, match="end after"):
        silences.add([DOWN], starts=10, ends=10)


def test_silences_are_bounded() -> None:
    silences = Silences()
    for _ in range(MAX_SILENCES):
        silences.add([DOWN], starts=0, ends=10)
    with pytest.raises(InvalidSilence, match=str(MAX_SILENCES)):
        silences.add([DOWN], starts=0, ends=10)
