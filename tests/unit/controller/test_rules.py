"""Which envelope is chosen: one row per situation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.rules import (
    Candidate,
    Hand,
    choose,
    experiment_of,
    failure_of,
    in_order,
    is_pinned,
)
from envelope.config import DeploymentConfig, Rollout, Sticky
from envelope.registry import DeploymentRow, Exclusion, Pause, ReleaseRow, RuleRow
from tests.fakes import START

LTV = DeploymentRow(
    name="ltv",
    config=DeploymentConfig(),
    config_version=3,
    pin_envelope_id=None,
    pin_until=None,
    pinned_by=None,
    is_removed=False,
)
US = RuleRow(name="us", query="tags.a = 'b'", deploy_to="ltv", priority=0, paused=False, version=7)
HOTFIX = replace(US, name="hotfix", priority=5)
ALSO = replace(US, name="also")
PINNED = replace(LTV, pin_envelope_id="P", pinned_by="bob")
ENDING = replace(PINNED, pin_until=START + timedelta(minutes=1))

AGES = {"E1": 1, "E2": 2, "E3": 3, "E4": 4}


def read(matches: dict[str, list[str]], rule: RuleRow) -> Iterator[Candidate]:
    for envelope_id in sorted(matches.get(rule.name, []), reverse=True):
        at = START + timedelta(days=AGES[envelope_id])
        yield Candidate(envelope_id=envelope_id, created_at=at, rule=rule)


@pytest.mark.parametrize(
    "deployment, rules, matches, failed, wanted, why",
    [
        pytest.param(
            LTV,
            [US],
            {"us": ["E1", "E2"]},
            {},
            ("E2", "us"),
            "newest match of rule us",
            id="newest",
        ),
        pytest.param(
            LTV,
            [US],
            {"us": ["E1", "E2"]},
            {"E2": "failed"},
            ("E1", "us"),
            "newest match of rule us",
            id="newest-that-has-not-failed",
        ),
        pytest.param(
            LTV,
            [US],
            {"us": ["E1", "E2"]},
            {"E1": "no", "E2": "out of memory"},
            None,
            "no match may be started; the best was E2: out of memory",
            id="all-failed",
        ),
        pytest.param(
            LTV,
            [US, HOTFIX],
            {"us": ["E3"], "hotfix": ["E1"]},
            {},
            ("E1", "hotfix"),
            "newest match of rule hotfix",
            id="priority-before-age",
        ),
        pytest.param(
            LTV,
            [US, HOTFIX],
            {"us": ["E3"]},
            {},
            ("E3", "us"),
            "newest match of rule us",
            id="highest-priority-with-a-match",
        ),
        pytest.param(
            LTV,
            [US, replace(HOTFIX, paused=True)],
            {"us": ["E3"], "hotfix": ["E4"]},
            {},
            ("E3", "us"),
            "newest match of rule us",
            id="paused-does-not-count",
        ),
        pytest.param(
            LTV,
            [US, ALSO],
            {"us": ["E1", "E3"], "also": ["E2", "E4"]},
            {"E4": "failed"},
            ("E3", "us"),
            "newest match of rule us",
            id="equal-priority-by-age",
        ),
        pytest.param(LTV, [US], {}, {}, None, "unmatched: no envelope matches us", id="unmatched"),
        pytest.param(LTV, [], {}, {}, None, "no rule deploys to it", id="no-rule"),
        pytest.param(
            LTV,
            [replace(US, deploy_to="other")],
            {"us": ["E1"]},
            {},
            None,
            "no rule deploys to it",
            id="a-rule-of-another",
        ),
        pytest.param(
            LTV, [replace(US, paused=True)], {"us": ["E1"]}, {}, None, "paused: us", id="paused"
        ),
        pytest.param(PINNED, [US], {"us": ["E1"]}, {}, ("P", None), "pinned by bob", id="pinned"),
        pytest.param(
            PINNED,
            [US],
            {"us": ["E1"]},
            {"P": "failed"},
            None,
            "pinned by bob to P: failed",
            id="pinned-and-failed",
        ),
        pytest.param(
            ENDING,
            [US],
            {"us": ["E1"]},
            {},
            ("P", None),
            "pinned by bob until 2026-03-01T12:01:00+00:00",
            id="pinned-for-a-while",
        ),
        pytest.param(
            replace(ENDING, pin_until=START),
            [US],
            {"us": ["E1"]},
            {},
            ("E1", "us"),
            "newest match of rule us",
            id="pin-ended",
        ),
        pytest.param(
            replace(LTV, is_removed=True),
            [US],
            {"us": ["E1"]},
            {},
            None,
            "undeployed",
            id="undeployed",
        ),
    ],
)
def test_choose(
    deployment: DeploymentRow,
    rules: list[RuleRow],
    matches: dict[str, list[str]],
    failed: dict[str, str],
    wanted: tuple[str, str | None] | None,
    why: str,
) -> None:
    candidates = in_order("ltv", rules, lambda rule: read(matches, rule))
    choice = choose(deployment, rules, candidates, failed.get, START)
    found = choice.wanted and (choice.wanted.envelope_id, choice.wanted.rule)
    assert (found, choice.why) == (wanted, why)
    if choice.wanted is not None:
        assert choice.wanted.config_version == 3
        assert choice.wanted.rule_version == (7 if choice.wanted.rule else None)


def test_no_more_candidates_are_read_than_it_takes() -> None:
    def endless() -> Iterator[Candidate]:
        yield Candidate(envelope_id="E1", created_at=START, rule=US)
        raise AssertionError("read on")

    assert choose(LTV, [US], endless(), lambda _: None, START).wanted is not None


def test_a_pin_without_end_lasts() -> None:
    assert is_pinned(PINNED, START + timedelta(days=10_000))
    assert not is_pinned(LTV, START)


def release(state: str, version: str | None = "v1", **changes: object) -> ReleaseRow:
    row = ReleaseRow(
        id="r1",
        deployment="ltv",
        envelope_id="E1",
        state=state,
        rule="us",
        rule_version=1,
        config_version=3,
        app_version=version,
        actor="controller",
        reason="why",
        created_at=START,
        updated_at=START,
        live_at=None,
        ended_at=START,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "releases, now, is_failure",
    [
        pytest.param([release("failed")], "v1", True, id="same-again"),
        pytest.param([release("rejected")], "v1", True, id="rejected"),
        pytest.param([release("failed")], "v2", False, id="another-environment"),
        pytest.param([release("failed", None)], None, True, id="still-cannot-be-prepared"),
        pytest.param([release("failed", None)], "v1", False, id="can-be-prepared-now"),
        pytest.param([release("failed", config_version=2)], "v1", False, id="another-config"),
        pytest.param([release("failed", envelope_id="E2")], "v1", False, id="another-envelope"),
        pytest.param([release("candidate"), release("failed")], "v1", False, id="asked-for-again"),
        pytest.param([release("failed"), release("live")], "v1", True, id="failed-since"),
        pytest.param([release("retired"), release("failed")], "v1", False, id="worked-since"),
        pytest.param([], "v1", False, id="never-tried"),
    ],
)
def test_failure_of(releases: list[ReleaseRow], now: str | None, is_failure: bool) -> None:
    assert (failure_of(releases, "E1", 3, lambda: now) is not None) == is_failure


# --- experiments

CHALLENGER = Candidate(envelope_id="E2", created_at=START + timedelta(days=2), rule=US)
ROLLED_BACK = Exclusion(
    deployment="ltv",
    envelope_id="E2",
    created_at=START,
    back_to="E1",
    reason="bad",
    at=START,
    actor="bob",
)


@pytest.mark.parametrize(
    "deployment, hand, wanted",
    [
        pytest.param(LTV, Hand(challenger=CHALLENGER), "E2", id="newer-ones-wait"),
        pytest.param(LTV, Hand(), "E4", id="once-it-has-ended"),
        pytest.param(PINNED, Hand(challenger=CHALLENGER), "P", id="deployed-by-hand"),
        pytest.param(
            replace(LTV, is_removed=True), Hand(challenger=CHALLENGER), None, id="undeployed"
        ),
        pytest.param(
            LTV,
            Hand(challenger=CHALLENGER, pause=Pause(reason="holiday", at=START, actor="bob")),
            None,
            id="all-rules-paused",
        ),
        pytest.param(
            LTV,
            Hand(challenger=CHALLENGER, exclusions=(ROLLED_BACK,), live="E1"),
            "E4",
            id="challenger-rolled-back",
        ),
        pytest.param(
            LTV,
            Hand(
                challenger=CHALLENGER,
                exclusions=(replace(ROLLED_BACK, envelope_id="E3", back_to="E1"),),
                live="E3",
            ),
            "E1",
            id="champion-rolled-back",
        ),
    ],
)
def test_a_challenger_is_wanted_until_its_experiment_has_ended(
    deployment: DeploymentRow, hand: Hand, wanted: str | None
) -> None:
    matches = {"us": ["E1", "E2"], "hotfix": ["E4"]}
    candidates = in_order("ltv", [US, HOTFIX], lambda rule: read(matches, rule))
    choice = choose(deployment, [US, HOTFIX], candidates, lambda _: None, START, hand)
    assert (choice.wanted and choice.wanted.envelope_id) == wanted


TRYING = replace(
    LTV,
    config=DeploymentConfig(
        rollout=Rollout(strategy="experiment", share=50, sticky=Sticky(header="X-User-Id"))
    ),
)


@pytest.mark.parametrize(
    "deployment, row, is_one",
    [
        pytest.param(TRYING, release("experiment", ended_at=None), True, id="starts-beside"),
        pytest.param(TRYING, release("experiment", ended_at=None, step=0), True, id="runs"),
        pytest.param(TRYING, release("starting", ended_at=None, step=0), True, id="was-won"),
        pytest.param(TRYING, release("starting", ended_at=None), False, id="a-first-release"),
        pytest.param(TRYING, release("live", ended_at=None, step=0), False, id="is-over"),
        pytest.param(TRYING, release("gated", ended_at=None), False, id="has-not-begun"),
        pytest.param(
            TRYING, release("experiment", config_version=2), False, id="of-another-config"
        ),
        pytest.param(LTV, release("experiment", ended_at=None), False, id="is-not-configured"),
    ],
)
def test_experiment_of(deployment: DeploymentRow, row: ReleaseRow, is_one: bool) -> None:
    assert (experiment_of(deployment, [row]) is not None) == is_one
