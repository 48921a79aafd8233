"""Which envelope a deployment should serve: its pin, else the newest match of its rules.

After a rollback: what was gone back to, until a match comes that is newer than all that was rolled
back. While an experiment is under way: its challenger, for as long as that matches.

Of the unpaused rules with a match that may be started, those of the highest priority decide; among
rules of equal priority the newest envelope does. What has failed as it would be started now is
passed over, so that an older match takes its place.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from controller.state import EXPERIMENT, Wanted
from envelope.registry import DeploymentRow, Exclusion, Pause, ReleaseRow, RuleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An envelope that matches a rule of the deployment."""

    envelope_id: str
    created_at: datetime
    rule: RuleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """wanted: None keeps what is live. why: why this one, or why none."""

    wanted: Wanted | None
    why: str


Excluded = Callable[[str], str | None]
"""Why an envelope must not be started on the deployment as it is configured; None if it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """What people did that rules give way to. live: the envelope that serves now.

    exclusions: what was rolled back on the deployment, oldest rollback first.
    challenger: of the experiment that nobody has ended yet, if it matches a rule.
    """

    exclusions: Sequence[Exclusion] = ()
    live: str | None = None
    pause: Pause | None = None
    challenger: Candidate | None = None

    def against(self, envelope_id: str) -> str | None:
        """Why an envelope may not come back."""
        for each in reversed(self.exclusions):
            if each.envelope_id == envelope_id:
                at = each.at.isoformat(timespec="seconds")
                return f"rolled back at {at} by {each.actor}: {each.reason}"
        return None


NOTHING_BY_HAND = Hand()
CHALLENGER = "challenger of an experiment; newer matches wait until it has ended"


def choose(
    deployment: DeploymentRow,
    rules: Sequence[RuleRow],
    candidates: Iterable[Candidate],
    excluded: Excluded,
    now: datetime,
    hand: Hand = NOTHING_BY_HAND,
) -> Choice:
    """Choose what a deployment should serve. candidates: in the order of `in_order`.

    Only as many candidates are read as it takes.
    """

    def failure_of_candidate(envelope_id: str) -> str | None:
        return hand.against(envelope_id) or excluded(envelope_id)

    if deployment.is_removed:
        return Choice(wanted=None, why="undeployed")
    if is_pinned(deployment, now):
        return _pinned(deployment, failure_of_candidate)
    former = _former(deployment, failure_of_candidate, hand)
    if former is not None and hand.live is not None and hand.against(hand.live):
        return former
    if hand.pause is not None:
        return Choice(wanted=None, why=f"paused by {hand.pause.actor}: {hand.pause.reason}")
    tried = hand.challenger
    if tried is not None and failure_of_candidate(tried.envelope_id) is None:
        return _wanted(deployment, tried.envelope_id, tried.rule, CHALLENGER)
    best, passed_over = _first(candidates, failure_of_candidate)
    is_over = _is_newer(best, hand.exclusions)
    is_needed = best is not None or hand.live in (None, *(e.back_to for e in hand.exclusions[-1:]))
    if former is not None and is_needed and not is_over:
        return former
    if best is not None:
        return _wanted(deployment, best.envelope_id, best.rule, _newest(best))
    return Choice(wanted=None, why=_why_none(deployment, rules, passed_over))


def _first(
    candidates: Iterable[Candidate], excluded: Excluded
) -> tuple[Candidate | None, str | None]:
    """The best candidate that may be started, and the best that was passed over for it."""
    passed_over: str | None = None
    for candidate in candidates:
        failure = excluded(candidate.envelope_id)
        if failure is None:
            return candidate, passed_over
        passed_over = passed_over or f"{candidate.envelope_id}: {failure}"
    return None, passed_over


def _former(deployment: DeploymentRow, excluded: Excluded, hand: Hand) -> Choice | None:
    """What the last rollback went back to, if that may be started."""
    last = hand.exclusions[-1] if hand.exclusions else None
    if last is None or last.back_to is None or excluded(last.back_to) is not None:
        return None
    reason = f"rolled back from {last.envelope_id} by {last.actor}: {last.reason}"
    return _wanted(deployment, last.back_to, None, reason)


def _is_newer(candidate: Candidate | None, exclusions: Sequence[Exclusion]) -> bool:
    """Whether it came after all that was rolled back."""
    if candidate is None:
        return False
    return all(_age(candidate) > (each.created_at, each.envelope_id) for each in exclusions)


def is_pinned(deployment: DeploymentRow, now: datetime) -> bool:
    """Whether a pin is there and has not ended."""
    until = deployment.pin_until
    return deployment.pin_envelope_id is not None and (until is None or now < until)


def in_order(
    deployment: str, rules: Sequence[RuleRow], read: Callable[[RuleRow], Iterator[Candidate]]
) -> Iterator[Candidate]:
    """The candidates of a deployment, best first: by priority, then newest.

    read: the matches of one rule, newest first.
    """
    active = sorted(
        (rule for rule in rules if rule.deploy_to == deployment and not rule.paused),
        key=lambda rule: (-rule.priority, rule.name),
    )
    for _, tier in groupby(active, key=lambda rule: rule.priority):
        yield from heapq.merge(*map(read, tier), key=_age, reverse=True)


def _age(candidate: Candidate) -> tuple[datetime, str]:
    return candidate.created_at, candidate.envelope_id


def _pinned(deployment: DeploymentRow, excluded: Excluded) -> Choice:
    envelope_id = deployment.pin_envelope_id
    assert envelope_id is not None
    until = f" until {deployment.pin_until.isoformat()}" if deployment.pin_until else ""
    reason = f"pinned by {deployment.pinned_by}{until}"
    failure = excluded(envelope_id)
    if failure is None:
        return _wanted(deployment, envelope_id, None, reason)
    return Choice(wanted=None, why=f"{reason} to {envelope_id}: {failure}")


def _wanted(
    deployment: DeploymentRow, envelope_id: str, rule: RuleRow | None, reason: str
) -> Choice:
    wanted = Wanted(
        envelope_id=envelope_id,
        config_version=deployment.config_version,
        rule=rule.name if rule else None,
        rule_version=rule.version if rule else None,
        reason=reason,
    )
    return Choice(wanted=wanted, why=reason)


def _newest(candidate: Candidate) -> str:
    return f"newest match of rule {candidate.rule.name}"


def _why_none(deployment: DeploymentRow, rules: Sequence[RuleRow], passed_over: str | None) -> str:
    mine = sorted(rule.name for rule in rules if rule.deploy_to == deployment.name)
    if passed_over is not None:
        return f"no match may be started; the best was {passed_over}"
    if not mine:
        return "no rule deploys to it"
    if all(rule.paused for rule in rules if rule.name in mine):
        return f"paused: {', '.join(mine)}"
    return f"unmatched: no envelope matches {', '.join(mine)}"


# --- experiments


def experiment_of(deployment: DeploymentRow, releases: Sequence[ReleaseRow]) -> ReleaseRow | None:
    """The release of the experiment that is under way, until its challenger is live or given up.

    releases: of the deployment, that have not ended. Under another config it would be another one.
    """
    if deployment.config.rollout.strategy != EXPERIMENT:
        return None
    for row in releases:
        has_won = row.state == "starting" and row.step is not None
        if row.config_version == deployment.config_version and (row.state == EXPERIMENT or has_won):
            return row
    return None


# --- what has failed


def failure_of(
    releases: Sequence[ReleaseRow],
    envelope_id: str,
    config_version: int,
    version_now: Callable[[], str | None] | None = None,
    is_rejected_now: Callable[[], bool] | None = None,
) -> ReleaseRow | None:
    """The release that shows that an envelope cannot be started as it would be now; or None.

    releases: of the deployment, newest first. The newest one of this envelope and config decides:
    one that was asked for by hand after a failure is a new attempt.
    version_now: of the application that would be started, None when there cannot be one; left
    out, a changed environment does not count as a change.
    is_rejected_now: whether the gates would still say no; left out, they would.
    """
    for release in releases:
        if (release.envelope_id, release.config_version) != (envelope_id, config_version):
            continue
        if release.state not in ("failed", "rejected"):
            return None
        if release.state == "rejected":
            return release if is_rejected_now is None or is_rejected_now() else None
        is_same = version_now is None or release.app_version == version_now()
        return release if is_same else None
    return None


def describe_failure(release: ReleaseRow) -> str:
    """Say when and why it ended, on one line."""
    at = (release.ended_at or release.updated_at).isoformat(timespec="seconds")
    return f"{release.state} at {at}: {release.reason}"
