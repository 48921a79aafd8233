"""Judging a step: tables of what was answered, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.judging import describe_step, describe_tally, judge_step
from envelope.config import Rollout, RolloutStep
from ray_runtime.traffic import BOUNDS_MS, Answers, Counter, Quota, Tally, total

ROLLOUT = Rollout(
    strategy="canary",
    steps=(RolloutStep(share=5, minutes=10), RolloutStep(share=50, requests=100)),
    min_requests=50,
    max_error_percent=2,
    max_slowdown=2,
)
SHADOW = ROLLOUT.model_copy(update={"strategy": "shadow", "max_different_percent": 5})
BY_TIME, BY_REQUESTS = 0, 1


def side(count: int, failed: int = 0, ms: float = 4.0) -> Answers:
    counter = Counter()
    for index in range(count):
        counter.answered("live", 500 if index < failed else 200, ms)
    return counter.tally().live


def tally(candidate: Answers, live: Answers | None = None) -> Tally:
    return Tally(candidate=candidate, live=side(1000) if live is None else live)


@pytest.mark.parametrize(
    "step, answered, elapsed_s, state, reason",
    [
        pytest.param(BY_TIME, tally(side(0)), 0, "going", "", id="just-begun"),
        pytest.param(BY_TIME, tally(side(500)), 599, "going", "", id="time-not-over"),
        pytest.param(BY_TIME, tally(side(500)), 600, "passed", "500 queries", id="time-over"),
        pytest.param(BY_TIME, tally(side(49)), 600, "inconclusive", "than 50", id="too-few"),
        pytest.param(BY_TIME, tally(side(50)), 9999, "passed", "0 failed", id="enough-later"),
        pytest.param(BY_REQUESTS, tally(side(99)), 9999, "going", "", id="one-query-missing"),
        pytest.param(BY_REQUESTS, tally(side(100)), 1, "passed", "100 queries", id="all-queries"),
        pytest.param(BY_TIME, tally(side(500, 10)), 600, "passed", "10 failed", id="at-the-limit"),
        pytest.param(BY_TIME, tally(side(500, 11)), 1, "failed", "11 of 500", id="at-once"),
        pytest.param(BY_TIME, tally(side(1, 1)), 1, "going", "", id="one-may-be-chance"),
        pytest.param(BY_TIME, tally(side(2, 2)), 1, "failed", "2 of 2", id="no-more-can-mend-it"),
        pytest.param(BY_TIME, tally(side(60, ms=40)), 1, "failed", "max_slowdown is 2", id="slow"),
        pytest.param(BY_TIME, tally(side(49, ms=40)), 1, "going", "", id="slow-of-too-few"),
        pytest.param(
            BY_TIME, tally(side(60, ms=40), side(3)), 1, "going", "", id="slow-next-to-too-few"
        ),
        pytest.param(BY_TIME, tally(side(60, ms=11)), 1, "going", "", id="slower-by-little"),
    ],
)
def test_judge_step(step: int, answered: Tally, elapsed_s: float, state: str, reason: str) -> None:
    found = judge_step(ROLLOUT, step, answered, elapsed_s)
    assert found.state == state
    assert reason in found.reason


@pytest.mark.parametrize(
    "copies, different, state",
    [
        pytest.param(500, 25, "passed", id="at-the-limit"),
        pytest.param(500, 26, "failed", id="above"),
        pytest.param(49, 49, "inconclusive", id="too-few"),
    ],
)
def test_answers_that_differ(copies: int, different: int, state: str) -> None:
    answered = Tally(candidate=side(copies), live=side(copies), different=different)
    assert judge_step(SHADOW, BY_TIME, answered, 600).state == state
    unjudged = SHADOW.model_copy(update={"max_different_percent": None})
    assert judge_step(unjudged, BY_TIME, answered, 600).state != "failed"


def test_steps_and_tallies_are_described() -> None:
    assert describe_step(ROLLOUT, 0) == "step 1 of 2, 5 % for 10 min"
    assert describe_step(ROLLOUT, 1) == "step 2 of 2, 50 % for 100 queries"
    assert (
        describe_tally(tally(side(3, 1)), ROLLOUT)
        == "3 queries, 1 failed, p95 4.44 ms (live 4.44 ms)"
    )
    assert describe_tally(Tally(), ROLLOUT) == "0 queries, 0 failed"
    copies = Tally(candidate=side(10), different=4, dropped=2)
    assert describe_tally(copies, SHADOW).startswith(
        "10 queries, 0 failed, 4 answered otherwise, 2 copies dropped"
    )


@given(st.floats(0.1, 100), st.integers(1, 2000))
def test_a_quota_is_exact_for_every_number_of_queries(percent: float, queries: int) -> None:
    quota = Quota(percent)
    taken = sum(quota.take() for _ in range(queries))
    assert abs(taken - queries * percent / 100) <= 1


@given(st.lists(st.floats(0.01, 60_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_right_to_one_class(times_ms: list[float], share: float) -> None:
    counter = Counter()
    for took_ms in times_ms:
        counter.answered("candidate", 200, took_ms)
    found = counter.tally().candidate.quantile_ms(share)
    index = max(0, -(-len(times_ms) * share // 1) - 1)
    exact = sorted(times_ms)[int(index)]
    assert found is not None
    assert max(exact, BOUNDS_MS[0]) <= found * (1 + 1e-9)
    assert found <= max(exact, BOUNDS_MS[0]) * 1.25 * (1 + 1e-9)


def test_what_several_replicas_counted_is_added_up() -> None:
    one, other = Counter(), Counter()
    one.answered("candidate", 200, 1.0)
    other.unanswered("candidate")
    other.answered("live", 404, 2.0)
    found = total([one.tally(), other.tally()])
    assert (found.candidate.count, found.candidate.failed) == (2, 1)
    assert (found.live.count, found.live.failed) == (1, 0)
    assert found.candidate.quantile_ms(0.95) == pytest.approx(1.0, rel=0.25)
