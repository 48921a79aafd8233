"""The plan: one row per situation, with the actions that follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.gate_jobs import AskedGate
from controller.gates import Held, Rejected, Waiting
from controller.plan import plan
from controller.state import (
    App,
    AskGate,
    CreateRelease,
    DeleteApp,
    Deploy,
    Desired,
    MoveRelease,
    Observed,
    Release,
    Rollback,
    Wanted,
    is_waiting,
)
from tests.fakes import START

NAME = "ltv"
WANT_NEW = Wanted(
    envelope_id="NEW", config_version=1, rule="us", rule_version=1, reason="newest match of us"
)
WANT_OLD = replace(WANT_NEW, envelope_id="OLD")
OLD = Release(
    id="r-old",
    envelope_id="OLD",
    config_version=1,
    state="live",
    reason="answers",
    start_timeout_s=60,
    version="v-old",
    live_at=START,
)
NEW = replace(OLD, id="r-new", envelope_id="NEW", state="candidate", version="v-new")
RUNS_OLD = App(status="running", version="v-old")
STARTS_NEW = App(status="starting", version="v-new", message="waiting for 1 replica")
SLEEPS_OLD = replace(RUNS_OLD, target_replicas=0, may_answer=False)
WAKES_OLD = replace(RUNS_OLD, may_answer=False, message="no node has 8 CPUs")


def wish(wanted: Wanted | None, why: str = "unmatched", *, is_removed: bool = False) -> Desired:
    return Desired(name=NAME, is_removed=is_removed, wanted=wanted, why=why)


def seen(*releases: Release, app: App | None = RUNS_OLD, answering: str | None = "OLD") -> Observed:
    return Observed(releases=releases, app=app, answering=answering)


def move(release: Release, to_state: str, reason: str, version: str | None = None) -> MoveRelease:
    return MoveRelease(
        deployment=NAME,
        release_id=release.id,
        from_state=release.state,
        to_state=to_state,
        reason=reason,
        app_version=version,
    )


def in_state(state: str, **changes: object) -> Release:
    return replace(NEW, state=state, **changes)  # type: ignore[arg-type]


def deploy(release: Release) -> Deploy:
    return Deploy(deployment=NAME, release_id=release.id, has_answered=release.state == "live")


def waking(since_s: float) -> Observed:
    since = START - timedelta(seconds=since_s)
    return replace(seen(OLD, app=WAKES_OLD, answering=None), waking_since=since)


LATE = in_state("starting", asked_at=START - timedelta(seconds=61))
TIMED_OUT = (
    "not live 61 s after it was started, start_timeout_s is 60; at its URL answers nothing; "
    "Serve says starting: waiting for 1 replica"
)
ASKED = AskedGate(gate="validation_job-1", what="the validation job", spec={})
WANT_NEWER = replace(WANT_NEW, envelope_id="NEWER", reason="newest")
NEWER_STARTS = replace(NEW, id="r-newer", envelope_id="NEWER", version="v-newer", state="starting")
NEWER_HELD = replace(
    NEWER_STARTS, state="held", reason="no metric auc", verdict=Held(reason="no metric auc")
)
STARTS_NEWER = App(status="starting", version="v-newer")
RUNS_NEWER = App(status="running", version="v-newer")
FAILED_NEWER = App(status="failed", version="v-newer", message="sample differs")
FAILED_NEW = App(status="failed", version="v-new", message="sample differs")
UNDONE = Rollback(actor="bob", reason="bad")
REPLACED = "replaced by envelope NEW (release r-new)"


@pytest.mark.parametrize(
    "desired, observed, actions",
    [
        pytest.param(wish(None), seen(app=None), [], id="nothing-wanted-nothing-there"),
        pytest.param(wish(WANT_OLD), seen(OLD), [], id="steady"),
        pytest.param(wish(None), seen(OLD), [], id="unmatched-keeps-live"),
        pytest.param(
            wish(WANT_NEW),
            seen(app=None),
            [CreateRelease(deployment=NAME, wanted=WANT_NEW)],
            id="first-release",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(OLD),
            [CreateRelease(deployment=NAME, wanted=WANT_NEW)],
            id="better-one",
        ),
        pytest.param(
            wish(replace(WANT_OLD, config_version=2)),
            seen(OLD),
            [
                CreateRelease(
                    deployment=NAME,
                    wanted=replace(
                        WANT_OLD,
                        config_version=2,
                        reason="config changed: version 1 -> 2; newest match of us",
                    ),
                )
            ],
            id="config-changed",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(NEW, OLD),
            [move(NEW, "gated", "every gate passed")],
            id="gates-passed",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("candidate", verdict=Rejected(reason="no column age")), OLD),
            [move(NEW, "rejected", "no column age", "v-new")],
            id="gate-rejects",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("candidate", verdict=Held(reason="no metric auc")), OLD),
            [move(NEW, "held", "no metric auc")],
            id="gate-cannot-judge",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(
                in_state("held", verdict=Held(reason="no metric auc"), reason="no metric auc"), OLD
            ),
            [],
            id="held-waits",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("candidate", verdict=Waiting(reason="runs", to_ask=(ASKED,))), OLD),
            [
                AskGate(deployment=NAME, envelope_id="NEW", asked=ASKED),
                move(NEW, "candidate", "runs"),
            ],
            id="gate-has-to-run",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("candidate", verdict=Waiting(reason="runs"), reason="runs"), OLD),
            [],
            id="gate-runs",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("held", verdict=Waiting(reason="runs"), reason="no verdict"), OLD),
            [move(in_state("held"), "candidate", "runs")],
            id="gate-runs-again",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("starting", verdict=Waiting(reason="runs")), OLD),
            [move(in_state("starting"), "held", "runs")],
            id="gate-runs-while-it-starts",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("held"), OLD),
            [move(in_state("held"), "gated", "every gate passed")],
            id="held-then-passed",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("candidate", version=None, fault="locked for Python 3.9"), OLD),
            [move(NEW, "failed", "locked for Python 3.9")],
            id="cannot-be-prepared",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("gated"), OLD),
            [move(in_state("gated"), "starting", "starting NEW")],
            id="start-is-recorded-first",
        ),
        pytest.param(
            wish(WANT_NEW), seen(in_state("starting"), OLD), [deploy(NEW)], id="then-deployed"
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("starting", asked_at=START), OLD, app=STARTS_NEW),
            [],
            id="start-takes-its-time",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("starting"), OLD, app=App(status="running", version="v-new")),
            [],
            id="serve-says-running-but-the-old-one-answers",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(
                in_state("starting"),
                OLD,
                app=App(status="running", version="v-new"),
                answering="NEW",
            ),
            [
                move(in_state("starting"), "live", "answers at its URL"),
                move(OLD, "retired", REPLACED),
            ],
            id="live",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(
                in_state("live", live_at=START + timedelta(seconds=9)),
                OLD,
                app=App(status="running", version="v-new"),
                answering="NEW",
            ),
            [move(OLD, "retired", REPLACED)],
            id="killed-between-live-and-retired",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(
                in_state("starting"),
                OLD,
                app=App(status="failed", version="v-new", message="sample differs"),
            ),
            [move(in_state("starting"), "failed", "sample differs", "v-new")],
            id="start-failed",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=App(status="failed", version="v-new")),
            [deploy(OLD)],
            id="then-the-live-one-is-put-back",
        ),
        pytest.param(
            wish(None),
            seen(app=App(status="failed", version="v-new"), answering=None),
            [DeleteApp(deployment=NAME, reason="nothing is live on it")],
            id="or-deleted-where-nothing-is-live",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("gated"), OLD, app=App(status="failed", version="v-new")),
            [deploy(OLD)],
            id="an-earlier-failure-is-cleared-first",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("gated"), app=App(status="failed", version="v-new"), answering=None),
            [DeleteApp(deployment=NAME, reason="its earlier start failed")],
            id="an-earlier-failure-is-cleared-first-nothing-live",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(LATE, OLD, app=STARTS_NEW),
            [
                move(
                    LATE,
                    "failed",
                    "not live 61 s after it was started, start_timeout_s is 60; at its URL answers "
                    "OLD; Serve says starting: waiting for 1 replica",
                    "v-new",
                )
            ],
            id="start-timeout",
        ),
        pytest.param(
            wish(replace(WANT_NEW, envelope_id="NEWER", reason="newest match of us")),
            seen(in_state("starting"), OLD, app=STARTS_NEW),
            [
                move(
                    in_state("starting"),
                    "retired",
                    "superseded by envelope NEWER: newest match of us",
                ),
                CreateRelease(deployment=NAME, wanted=replace(WANT_NEW, envelope_id="NEWER")),
            ],
            id="superseded-while-starting",
        ),
        pytest.param(
            wish(None, "paused: us"),
            seen(in_state("starting"), OLD, app=STARTS_NEW),
            [move(in_state("starting"), "retired", "no longer wanted: paused: us"), deploy(OLD)],
            id="paused-while-starting",
        ),
        pytest.param(
            wish(None, "paused: us"),
            seen(in_state("starting"), app=App(status="running", version="v-new"), answering="NEW"),
            [move(in_state("starting"), "live", "answers at its URL")],
            id="paused-when-it-answers-already",
        ),
        pytest.param(
            wish(replace(WANT_NEW, envelope_id="NEWER")),
            seen(in_state("starting"), app=App(status="running", version="v-new"), answering="NEW"),
            [move(in_state("starting"), "live", "answers at its URL")],
            id="superseded-when-it-answers-already",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(in_state("starting"), app=STARTS_NEW, answering=None),
            [CreateRelease(deployment=NAME, wanted=WANT_NEWER)],
            id="the-first-start-is-not-given-up-for-a-candidate",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_HELD, in_state("starting"), app=STARTS_NEW, answering=None),
            [],
            id="nor-for-one-that-is-held",
        ),
        pytest.param(
            wish(None, "paused: us"),
            seen(in_state("starting"), app=STARTS_NEW, answering=None),
            [],
            id="nor-for-nothing",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_STARTS, in_state("starting"), app=STARTS_NEWER, answering=None),
            [],
            id="it-may-come-up-beside-the-one-that-is-asked-for-by-now",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_STARTS, in_state("starting"), app=STARTS_NEWER, answering="NEW"),
            [move(in_state("starting"), "live", "answers at its URL")],
            id="and-is-live-then",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_STARTS, in_state("starting"), app=RUNS_NEWER, answering="NEWER"),
            [move(NEWER_STARTS, "live", "answers at its URL")],
            id="or-the-newer-one-is",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_STARTS, in_state("starting"), app=FAILED_NEWER, answering=None),
            [
                move(in_state("starting"), "retired", "superseded by envelope NEWER: newest"),
                move(NEWER_STARTS, "failed", "sample differs", "v-newer"),
            ],
            id="neither-comes-up",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_HELD, in_state("starting"), app=FAILED_NEW, answering=None),
            [move(in_state("starting"), "failed", "sample differs", "v-new")],
            id="the-first-start-fails-while-the-next-is-held",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(NEWER_HELD, LATE, app=STARTS_NEW, answering=None),
            [move(LATE, "failed", TIMED_OUT, "v-new")],
            id="the-first-start-takes-too-long-while-the-next-is-held",
        ),
        pytest.param(
            wish(WANT_NEWER),
            seen(in_state("starting", rollback=UNDONE), app=STARTS_NEW, answering=None),
            [
                replace(
                    move(
                        in_state("starting"),
                        "rolled_back",
                        "rolled back: bad; superseded by envelope NEWER: newest",
                    ),
                    actor="bob",
                ),
                CreateRelease(deployment=NAME, wanted=WANT_NEWER),
            ],
            id="the-first-start-is-given-up-after-a-rollback",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(replace(OLD, id="r-again", state="candidate"), OLD),
            [move(replace(OLD, id="r-again", state="candidate"), "gated", "every gate passed")],
            id="deployed-again-by-hand",
        ),
        pytest.param(wish(WANT_OLD), seen(OLD, app=None), [deploy(OLD)], id="empty-cluster"),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("starting"), OLD, app=None, answering=None),
            [deploy(OLD)],
            id="empty-cluster-restores-before-it-tries",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(
                in_state("starting"),
                replace(OLD, asked_at=START),
                app=App(status="starting", version="v-old"),
                answering=None,
            ),
            [],
            id="waits-for-the-restored-one",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(
                in_state("starting"),
                replace(OLD, asked_at=START - timedelta(seconds=60)),
                app=App(status="starting", version="v-old"),
                answering=None,
            ),
            [deploy(NEW)],
            id="but-not-for-ever",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=App(status="failed", version="v-old", message="no"), answering=None),
            [DeleteApp(deployment=NAME, reason="to start it anew: no")],
            id="live-one-failed-for-good-is-started-anew",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=SLEEPS_OLD, answering=None),
            [],
            id="no-replica-is-no-fault",
        ),
        pytest.param(
            wish(WANT_OLD), waking(59), [], id="those-that-ask-what-sleeps-wait-for-its-start"
        ),
        pytest.param(
            wish(WANT_OLD),
            waking(60),
            [
                DeleteApp(
                    deployment=NAME,
                    reason="its first replica did not start within 60 s of a query, "
                    "start_timeout_s is 60: no node has 8 CPUs",
                )
            ],
            id="but-not-for-ever-either",
        ),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("starting"), OLD, app=SLEEPS_OLD, answering=None),
            [deploy(NEW)],
            id="a-new-one-where-none-runs",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=App(status="failed", version="v-old")),
            [],
            id="failed-but-still-answering-is-left-alone",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=App(status="deleting", version="v-old")),
            [],
            id="deletion-is-waited-for",
        ),
        pytest.param(
            wish(None),
            seen(app=App(status="running", version=None)),
            [],
            id="an-application-that-is-not-ours",
        ),
        pytest.param(
            wish(None, "undeployed", is_removed=True),
            seen(in_state("starting"), OLD),
            [
                move(in_state("starting"), "removed", "undeployed"),
                DeleteApp(deployment=NAME, reason="undeployed"),
            ],
            id="undeploy",
        ),
        pytest.param(
            wish(None, "undeployed", is_removed=True),
            seen(OLD, app=App(status="deleting", version="v-old")),
            [],
            id="undeploy-drains",
        ),
        pytest.param(
            wish(None, "undeployed", is_removed=True),
            seen(OLD, app=App(status="deleting", version=None)),
            [],
            id="undeploy-has-drained-and-is-not-gone",
        ),
        pytest.param(
            wish(None, "undeployed", is_removed=True),
            seen(OLD, app=None, answering=None),
            [move(OLD, "removed", "undeployed")],
            id="undeployed-is-recorded",
        ),
        pytest.param(
            wish(None, "undeployed", is_removed=True), seen(app=None), [], id="stays-undeployed"
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, actions: list[object]) -> None:
    assert plan([desired], {NAME: observed}, START) == actions


def test_a_deployment_never_seen_is_planned_from_nothing() -> None:
    assert plan([wish(WANT_NEW)], {}, START) == [CreateRelease(deployment=NAME, wanted=WANT_NEW)]


def test_what_is_not_desired_is_left_alone() -> None:
    assert plan([], {"someone_elses": seen(app=RUNS_OLD)}, START) == []


def test_a_failed_live_release_is_not_started_anew_too_soon() -> None:
    failed = seen(OLD, app=App(status="failed", version="v-old"), answering=None)
    soon = replace(failed, revive_after=START + timedelta(seconds=1))
    assert plan([wish(WANT_OLD)], {NAME: soon}, START) == []


@pytest.mark.parametrize(
    "desired, observed, expected",
    [
        pytest.param(wish(WANT_OLD), seen(OLD), False, id="steady"),
        pytest.param(wish(WANT_OLD), seen(OLD, app=None), True, id="app-missing"),
        pytest.param(wish(WANT_NEW), seen(in_state("starting"), OLD), True, id="starting"),
        pytest.param(wish(WANT_NEW), seen(in_state("held"), OLD), False, id="held"),
        pytest.param(
            wish(WANT_NEW),
            seen(in_state("candidate", verdict=Waiting(reason="runs")), OLD),
            False,
            id="gate-runs",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=App(status="starting", version="v-old")),
            True,
            id="app-starts",
        ),
        pytest.param(
            wish(WANT_OLD),
            seen(OLD, app=App(status="unhealthy", version="v-old")),
            False,
            id="serve-sees-to-it",
        ),
        pytest.param(wish(WANT_OLD), seen(OLD, app=SLEEPS_OLD), False, id="sleeps"),
        pytest.param(wish(WANT_OLD), seen(OLD, app=WAKES_OLD), True, id="wakes"),
        pytest.param(
            wish(None, is_removed=True), seen(OLD, app=None), True, id="removal-to-be-recorded"
        ),
        pytest.param(wish(None, is_removed=True), seen(app=None), False, id="removed"),
    ],
)
def test_is_waiting(desired: Desired, observed: Observed, expected: bool) -> None:
    assert is_waiting(desired, observed) is expected
