"""Gates: a rejection first, then what cannot be judged."""

from __future__ import annotations

import pytest

from controller.backoff import Backoff, Postponed
from controller.gates import Gate, Held, Passed, Rejected, Verdict, judge
from tests.fakes import START
from tests.manifests import a_manifest

NO, LATER = Rejected(reason="no"), Held(reason="later")


def always(verdict: Verdict) -> Gate:
    return lambda candidate, live: verdict


@pytest.mark.parametrize(
    "verdicts, expected",
    [
        pytest.param([], Passed(), id="none"),
        pytest.param([Passed(), Passed()], Passed(), id="all-pass"),
        pytest.param([Passed(), LATER], LATER, id="held"),
        pytest.param([LATER, NO], NO, id="a-rejection-needs-no-waiting"),
        pytest.param([NO, Rejected(reason="no too")], NO, id="the-first-rejection"),
    ],
)
def test_judge(verdicts: list[Verdict], expected: Verdict) -> None:
    assert judge([always(verdict) for verdict in verdicts], a_manifest(), None) == expected


def test_backoff_doubles_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1, longest_s=5)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_postponed_is_early_until_its_time_and_later_each_time() -> None:
    postponed = Postponed(Backoff(first_s=10, longest_s=300))
    assert not postponed.is_early("ltv", START)
    assert [postponed.postpone("ltv", START), postponed.postpone("ltv", START)] == [10, 20]
    assert postponed.is_early("ltv", START)
    assert not postponed.is_early("ltv", postponed.until["ltv"])
    postponed.forget("ltv")
    assert postponed.postpone("ltv", START) == 10
