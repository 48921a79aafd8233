"""Rollouts in the plan: one row per situation, with the actions that follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.plan import plan
from controller.state import (
    Action,
    App,
    DeleteApp,
    Deploy,
    MoveRelease,
    Observed,
    Release,
    RollBack,
    Rollback,
    SetSplit,
    is_waiting,
)
from envelope.config import Rollout, RolloutStep, Sticky
from ray_runtime import assignment
from ray_runtime.traffic import Answers, Split, Tally, Traffic
from tests.fakes import START
from tests.unit.controller.test_plan import NAME, NEW, OLD, RUNS_OLD, WANT_NEW, WANT_OLD, wish

CANARY = Rollout(
    strategy="canary",
    steps=(RolloutStep(share=5, minutes=10), RolloutStep(share=50, minutes=10)),
    min_requests=50,
)
TRIED = replace(NEW, state="canary", rollout=CANARY, reason="canary: starting NEW beside OLD")
FIRST = replace(TRIED, step=0, step_since=START - timedelta(minutes=10))
SECOND = replace(FIRST, step=1)
PROMOTED = replace(SECOND, state="starting")
RUNS_NEW = App(status="running", version="v-new")
BESIDE = Deploy(deployment=NAME, release_id="r-new", slot="challenger")
SPLIT_1 = Split(key="r-new/0", application="ltv--challenger", percent=5)
SPLIT_2 = Split(key="r-new/1", application="ltv--challenger", percent=50)
GOOD = Tally(candidate=Answers(count=100))
BAD = Tally(candidate=Answers(count=100, failed=2))


def seen(
    *releases: Release,
    challenger: App | None = RUNS_NEW,
    split: Split | None = None,
    tally: Tally = GOOD,
    app: App = RUNS_OLD,
) -> Observed:
    return Observed(
        releases=releases,
        app=app,
        answering="OLD",
        challenger=challenger,
        traffic=Traffic(split=split, tally=tally),
    )


def move(release: Release, to_state: str, reason: str, **more: object) -> MoveRelease:
    return MoveRelease(
        deployment=NAME,
        release_id=release.id,
        from_state=release.state,
        to_state=to_state,
        reason=reason,
        **more,  # type: ignore[arg-type]
    )


def rolled_back(reason: str) -> RollBack:
    return RollBack(deployment=NAME, envelope_id="NEW", back_to="OLD", reason=reason)


def set_split(split: Split | None) -> SetSplit:
    return SetSplit(deployment=NAME, split=split)


GATED = replace(TRIED, state="gated")
REMOVE = DeleteApp(deployment=NAME, slot="challenger", reason="no release is tried out")
PASSED_1 = "canary: step 1 of 2, 5 % for 10 min: 100 queries, 0 failed"
ROWS = [
    pytest.param(
        seen(GATED, OLD, challenger=None),
        [move(GATED, "canary", "canary: starting NEW beside OLD")],
        id="begins-beside-the-live-one",
    ),
    pytest.param(
        seen(GATED, challenger=None),
        [move(GATED, "starting", "starting NEW")],
        id="nothing-is-live",
    ),
    pytest.param(
        seen(GATED, replace(OLD, envelope_id="NEW", config_version=0), challenger=None),
        [move(GATED, "starting", "starting NEW")],
        id="another-config-of-the-same-envelope",
    ),
    pytest.param(seen(GATED, OLD), [REMOVE], id="what-an-earlier-one-left-goes-first"),
    pytest.param(
        seen(GATED, OLD, challenger=replace(RUNS_NEW, status="deleting")),
        [],
        id="and-is-waited-for",
    ),
    pytest.param(seen(TRIED, OLD, challenger=None), [BESIDE], id="started-beside"),
    pytest.param(
        seen(TRIED, OLD, challenger=replace(RUNS_NEW, status="starting")), [], id="it-starts"
    ),
    pytest.param(
        seen(TRIED, OLD, challenger=replace(RUNS_NEW, status="failed", message="no such file")),
        [move(TRIED, "failed", "no such file", app_version="v-new")],
        id="it-cannot-start",
    ),
    pytest.param(
        seen(
            replace(TRIED, asked_at=START - timedelta(seconds=61)),
            OLD,
            challenger=replace(RUNS_NEW, status="starting", message="no room"),
        ),
        [
            move(
                TRIED,
                "failed",
                "not running 61 s after it was started beside the live one, start_timeout_s is 60; "
                "Serve says starting: no room",
                app_version="v-new",
            )
        ],
        id="it-starts-for-too-long",
    ),
    pytest.param(
        seen(TRIED, OLD),
        [move(TRIED, "canary", "canary: step 1 of 2, 5 % for 10 min, begins", step=0)],
        id="first-step",
    ),
    pytest.param(
        seen(replace(FIRST, step_since=START), OLD), [set_split(SPLIT_1)], id="its-share-is-set"
    ),
    pytest.param(
        seen(replace(FIRST, step_since=START), OLD, split=SPLIT_1), [], id="it-takes-its-time"
    ),
    pytest.param(
        seen(FIRST, OLD, split=SPLIT_1),
        [
            move(
                FIRST,
                "canary",
                f"canary: step 2 of 2, 50 % for 10 min, begins; before, {PASSED_1}",
                step=1,
            )
        ],
        id="passed-next-step",
    ),
    pytest.param(
        seen(SECOND, OLD, split=SPLIT_1, tally=BAD),
        [
            set_split(SPLIT_2),
            move(
                SECOND,
                "canary",
                "canary: step 2 of 2, 50 % for 10 min is over, and holds: it got fewer than 50 "
                "queries (min_requests)",
            ),
        ],
        id="what-another-step-counted-is-not-its",
    ),
    pytest.param(
        seen(SECOND, OLD, split=SPLIT_2),
        [
            move(
                SECOND,
                "starting",
                "starting NEW; canary: step 2 of 2, 50 % for 10 min: 100 queries, 0 failed",
            )
        ],
        id="last-step-passed",
    ),
    pytest.param(
        seen(FIRST, OLD, split=SPLIT_1, tally=BAD),
        [
            RollBack(
                deployment=NAME,
                envelope_id="NEW",
                back_to="OLD",
                reason="canary: step 1 of 2, 5 % for 10 min: 2 of 100 queries failed, "
                "max_error_percent is 1",
            )
        ],
        id="failing-step",
    ),
    pytest.param(
        seen(FIRST, OLD, split=SPLIT_1, challenger=replace(RUNS_NEW, status="unhealthy")),
        [set_split(None)],
        id="what-is-not-well-gets-nothing",
    ),
    pytest.param(
        seen(FIRST, OLD, split=None, challenger=None),
        [
            BESIDE,
        ],
        id="a-lost-challenger-is-started-again",
    ),
    pytest.param(
        seen(PROMOTED, OLD, split=SPLIT_2),
        [Deploy(deployment=NAME, release_id="r-new")],
        id="keeps-its-share-until-it-is-live",
    ),
    pytest.param(
        seen(replace(NEW, state="live", live_at=START, step=1), split=SPLIT_2, app=RUNS_NEW),
        [set_split(None)],
        id="live-needs-no-share",
    ),
    pytest.param(
        seen(replace(NEW, state="live", live_at=START, step=1), app=RUNS_NEW),
        [REMOVE],
        id="nor-a-challenger",
    ),
]


@pytest.mark.parametrize("observed, actions", ROWS)
def test_plan(observed: Observed, actions: list[Action]) -> None:
    assert plan([wish(WANT_NEW)], {NAME: observed}, START) == actions


EXPERIMENT = Rollout(strategy="experiment", share=30, sticky=Sticky(field="client_id"))
IN_TRIAL = replace(TRIED, state="experiment", rollout=EXPERIMENT)
BEGUN = replace(IN_TRIAL, step=0, step_since=START - timedelta(days=20))
WON = replace(BEGUN, state="starting")
BY_CALLER = Split(
    key="r-new/0",
    application="ltv--challenger",
    percent=30,
    sticky=assignment.Sticky(field="client_id"),
)
EXPERIMENTS = [
    pytest.param(
        seen(replace(IN_TRIAL, state="gated"), OLD, challenger=None),
        [
            move(
                replace(IN_TRIAL, state="gated"),
                "experiment",
                "experiment: starting NEW beside OLD",
            )
        ],
        id="begins-beside-the-live-one",
    ),
    pytest.param(
        seen(IN_TRIAL, OLD),
        [move(IN_TRIAL, "experiment", "experiment: 30 % by field client_id, begins", step=0)],
        id="its-callers-are-named",
    ),
    pytest.param(seen(BEGUN, OLD), [set_split(BY_CALLER)], id="its-callers-are-sent"),
    pytest.param(seen(BEGUN, OLD, split=BY_CALLER), [], id="it-never-ends-by-itself"),
    pytest.param(
        seen(BEGUN, OLD, split=BY_CALLER, tally=BAD),
        [
            rolled_back(
                "experiment: 30 % by field client_id: 2 of 100 queries failed, "
                "max_error_percent is 1"
            )
        ],
        id="unless-it-fails",
    ),
    pytest.param(
        seen(BEGUN, OLD, split=replace(SPLIT_1, key="other/0"), tally=BAD),
        [set_split(BY_CALLER)],
        id="what-another-counted-is-not-its",
    ),
    pytest.param(
        seen(BEGUN, OLD, split=BY_CALLER, challenger=replace(RUNS_NEW, status="unhealthy")),
        [set_split(None)],
        id="what-is-not-well-gets-nothing",
    ),
    pytest.param(
        seen(WON, OLD, split=BY_CALLER),
        [Deploy(deployment=NAME, release_id="r-new")],
        id="the-winner-keeps-its-callers-until-it-is-live",
    ),
    pytest.param(
        seen(replace(WON, state="live", live_at=START), split=BY_CALLER, app=RUNS_NEW),
        [set_split(None)],
        id="and-then-has-all",
    ),
]


@pytest.mark.parametrize("observed, actions", EXPERIMENTS)
def test_an_experiment_goes_on_until_it_is_ended(observed: Observed, actions: list[Action]) -> None:
    assert plan([wish(WANT_NEW)], {NAME: observed}, START) == actions


def test_an_experiment_that_runs_is_not_looked_at_all_the_time() -> None:
    wanted = wish(WANT_NEW)
    assert not is_waiting(wanted, seen(BEGUN, OLD, split=BY_CALLER))
    assert is_waiting(wanted, seen(BEGUN, OLD))
    assert is_waiting(wanted, seen(BEGUN, OLD, split=BY_CALLER, challenger=None))
    assert is_waiting(wanted, seen(IN_TRIAL, OLD))
    assert is_waiting(wanted, seen(FIRST, OLD, split=SPLIT_1)), "a canary has steps"


def test_a_rolled_back_candidate_loses_its_share_at_once() -> None:
    undone = replace(FIRST, rollback=Rollback(actor="controller", reason="2 of 100 queries failed"))
    actions = plan([wish(WANT_OLD)], {NAME: seen(undone, OLD, split=SPLIT_1)}, START)
    assert actions == [
        set_split(None),
        move(
            undone,
            "rolled_back",
            "rolled back: 2 of 100 queries failed; superseded by envelope OLD: newest match of us",
            actor="controller",
        ),
    ]


def test_a_shadow_gets_copies_until_it_takes_its_place() -> None:
    shadow = CANARY.model_copy(update={"strategy": "shadow"})
    tried = replace(FIRST, state="shadow", rollout=shadow, step_since=START)
    copies = replace(SPLIT_1, mode="copy")
    assert plan([wish(WANT_NEW)], {NAME: seen(tried, OLD)}, START) == [set_split(copies)]
    promoted = replace(tried, state="starting")
    actions = plan([wish(WANT_NEW)], {NAME: seen(promoted, OLD, split=copies)}, START)
    assert actions == [set_split(None), Deploy(deployment=NAME, release_id="r-new")]


def test_going_back_is_not_tried_out_first() -> None:
    """The one that is live is what is wrong."""
    undone = replace(OLD, rollback=Rollback(actor="ann", reason="wrong"))
    actions = plan([wish(WANT_NEW)], {NAME: seen(GATED, undone, challenger=None)}, START)
    assert actions == [move(GATED, "starting", "starting NEW")]


def test_an_undeployed_one_sends_nothing_and_leaves_nothing() -> None:
    removed = wish(None, "undeployed", is_removed=True)
    first = plan([removed], {NAME: seen(FIRST, OLD, split=SPLIT_1)}, START)
    assert first[0] == set_split(None)
    assert REMOVE in plan([removed], {NAME: seen(OLD)}, START)
