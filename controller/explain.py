"""Why a deployment serves what it serves: every candidate, and what speaks for or against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from controller.age import overdue
from controller.making import (
    against,
    placed,
    rules_of,
    template_rules,
)
from controller.matches import RuleMatches, challenger_of
from controller.rules import (
    Candidate,
    Choice,
    Hand,
    choose,
    describe_failure,
    failure_of,
    in_order,
    is_pinned,
)
from controller.view import HISTORY, live_row
from envelope.deployment_names import read_template
from envelope.errors import ConfigError
from envelope.registry import DeploymentRow, EnvelopeRow, Registry, ReleaseRow, RuleRow, parse
from envelope.registry.query import matches

NO_RULE = "matches no rule of this deployment"
CANDIDATES = 10  # shown per rule, and of the newest envelopes that match none


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """One envelope, and why it is wanted or not. state: of its open release there, if any."""

    envelope_id: str
    name: str
    created_at: datetime
    rule: str | None
    state: str | None
    is_wanted: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """live, on_the_way: releases that have not ended. opinions: best candidate first.

    alarm: that what is live is too old.
    """

    deployment: DeploymentRow
    live: ReleaseRow | None
    on_the_way: Sequence[ReleaseRow]
    choice: Choice
    rules: Sequence[RuleRow]
    opinions: Sequence[Opinion]
    alarm: str | None


def explain(registry: Registry, name: str, now: datetime) -> Explanation:
    """Explain one deployment from the registry alone; the controller decides by the same rules.

    Raises ConfigError when there is no such deployment.
    """
    deployment, every = find_deployment(registry, name), registry.rules()
    rules = sorted(rules_of(deployment, every), key=lambda rule: (-rule.priority, rule.name))
    history = registry.releases(name, limit=HISTORY)
    opened = [release for release in history if release.ended_at is None]
    live = live_row(opened)
    matches = RuleMatches(registry)
    known = _Known(
        deployment=deployment,
        rules=rules,
        history=history,
        matches=matches,
        now=now,
        hand=Hand(
            exclusions=registry.exclusions(name),
            live=live.envelope_id if live else None,
            pause=registry.pause(),
            challenger=challenger_of(deployment, rules, opened, matches, registry.facts),
        ),
    )
    choice = known.choose()
    return Explanation(
        deployment=deployment,
        live=live,
        on_the_way=[release for release in opened if release.state != "live"],
        choice=choice,
        rules=rules,
        opinions=[*_opinions(registry, known, choice, live, _templates_near(deployment, every))],
        alarm=alarm_of(registry, deployment, live, now),
    )


def _templates_near(deployment: DeploymentRow, rules: Sequence[RuleRow]) -> list[RuleRow]:
    """The rules whose template made a deployment, or makes such names."""
    owner = deployment.made_of.template if deployment.made_of else None
    return [
        rule
        for rule in template_rules(rules)
        if rule.deploy_to == owner or read_template(rule.deploy_to).may_make(deployment.name)
    ]


def alarm_of(
    registry: Registry, deployment: DeploymentRow, live: ReleaseRow | None, now: datetime
) -> str | None:
    """Say that what is live is too old; None when it is not, or nothing is."""
    if live is None or deployment.config.max_age is None:
        return None
    return overdue(deployment.config, registry.envelope(live.envelope_id).created_at, now)


def find_deployment(registry: Registry, name: str) -> DeploymentRow:
    """Read one deployment. Raises ConfigError naming those there are."""
    rows = registry.deployments()
    for row in rows:
        if row.name == name:
            return row
    names = ", ".join(row.name for row in rows) or "none yet"
    raise ConfigError(f"there is no deployment {name!r}; there are: {names}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of one deployment. rules: its own, best first."""

    deployment: DeploymentRow
    rules: Sequence[RuleRow]
    history: Sequence[ReleaseRow]
    matches: RuleMatches
    now: datetime
    hand: Hand

    def choose(self) -> Choice:
        candidates = in_order(self.deployment.name, self.rules, self.matches.newest_first)
        return choose(self.deployment, self.rules, candidates, self.excluded, self.now, self.hand)

    def excluded(self, envelope_id: str) -> str | None:
        if self.state(envelope_id) is not None:
            return None
        failure = failure_of(self.history, envelope_id, self.deployment.config_version)
        return describe_failure(failure) if failure else None

    def state(self, envelope_id: str) -> str | None:
        """The state of its open release with the config as it is."""
        here = (envelope_id, self.deployment.config_version)
        for release in self.history:
            if release.ended_at is None and here == (release.envelope_id, release.config_version):
                return release.state
        return None


def _opinions(
    registry: Registry,
    known: _Known,
    choice: Choice,
    live: ReleaseRow | None,
    templates: Sequence[RuleRow],
) -> Iterator[Opinion]:
    elsewhere = _elsewhere(registry, known.deployment, templates)
    shown: set[str] = set()
    pinned = known.deployment.pin_envelope_id
    if pinned is not None and is_pinned(known.deployment, known.now):
        shown.add(pinned)
        yield _opinion(known, registry.envelope(pinned), choice, None)
    for rule in known.rules:
        for candidate in islice(known.matches.newest_first(rule), CANDIDATES):
            if candidate.envelope_id not in shown:
                shown.add(candidate.envelope_id)
                row = registry.envelope(candidate.envelope_id)
                yield _opinion(known, row, choice, candidate)
    for envelope_id in _refused(registry, known.deployment, templates):
        if envelope_id not in shown:
            shown.add(envelope_id)
            yield _opinion(known, registry.envelope(envelope_id), choice, None, elsewhere)
    if live is not None and live.envelope_id not in shown:
        shown.add(live.envelope_id)
        yield _opinion(known, registry.envelope(live.envelope_id), choice, None, elsewhere)
    for row in registry.find(limit=CANDIDATES):
        if row.id not in shown and known.rules:
            yield _opinion(known, row, choice, None, elsewhere)


def _refused(
    registry: Registry, deployment: DeploymentRow, templates: Sequence[RuleRow]
) -> list[str]:
    """An envelope of each combination of tags that makes this name, which belongs to others."""
    found = placed(registry, templates)
    return [each.envelope_id for each in found if each.name == deployment.name and each.against]


def _elsewhere(
    registry: Registry, deployment: DeploymentRow, templates: Sequence[RuleRow]
) -> Callable[[str], str]:
    """Why an envelope that matches no rule of a deployment is no candidate of a template either."""

    def why(envelope_id: str) -> str:
        facts = registry.facts(envelope_id)
        found = [
            against(rule, facts.tags, deployment)
            for rule in templates
            if matches(parse(rule.query), facts)
        ]
        return "\n".join(found) or NO_RULE

    return why if templates else lambda envelope_id: NO_RULE


def _opinion(
    known: _Known,
    row: EnvelopeRow,
    choice: Choice,
    candidate: Candidate | None,
    elsewhere: Callable[[str], str] = lambda envelope_id: NO_RULE,
) -> Opinion:
    is_wanted = choice.wanted is not None and choice.wanted.envelope_id == row.id
    return Opinion(
        envelope_id=row.id,
        name=row.name,
        created_at=row.created_at,
        rule=candidate.rule.name if candidate else None,
        state=known.state(row.id),
        is_wanted=is_wanted,
        why=choice.why if is_wanted else _why_not(known, row.id, choice, candidate, elsewhere),
    )


def _why_not(
    known: _Known,
    envelope_id: str,
    choice: Choice,
    candidate: Candidate | None,
    elsewhere: Callable[[str], str],
) -> str:
    deployment, wanted = known.deployment, choice.wanted
    if rolled_back := known.hand.against(envelope_id):
        remedy = f"`envelope allow {envelope_id} --to {deployment.name}` lets it come back"
        return f"{rolled_back}\n{remedy}"
    failure = known.excluded(envelope_id)
    if failure is not None and (candidate or envelope_id == deployment.pin_envelope_id):
        again = f"envelope deploy {envelope_id} --to {deployment.name}"
        return f"{failure}\n`{again}` tries it again"
    if deployment.is_removed:
        return "undeployed; `envelope apply` or `envelope deploy` brings the deployment back"
    if is_pinned(deployment, known.now):
        return f"the deployment is pinned to {deployment.pin_envelope_id}"
    if candidate is None:
        return elsewhere(envelope_id)
    if candidate.rule.paused:
        return f"rule {candidate.rule.name} is paused"
    if wanted is None:
        return choice.why
    if _waits(known.hand.challenger, wanted.envelope_id, candidate):
        return (
            f"waits: {wanted.envelope_id} is the challenger of an experiment; "
            f"`envelope experiment end {deployment.name} --winner champion|challenger` ends it"
        )
    if wanted.rule is None:
        return f"older than what was rolled back; {choice.why}"
    chosen = next(rule for rule in known.rules if rule.name == wanted.rule)
    if chosen.priority > candidate.rule.priority:
        return (
            f"rule {chosen.name} has priority {chosen.priority}, "
            f"{candidate.rule.name} has {candidate.rule.priority}"
        )
    return f"older than {wanted.envelope_id}"


def _waits(challenger: Candidate | None, wanted: str, candidate: Candidate) -> bool:
    """Whether a candidate would be wanted but for an experiment."""
    if challenger is None or challenger.envelope_id != wanted:
        return False
    mine, other = (
        (each.rule.priority, each.created_at, each.envelope_id) for each in (candidate, challenger)
    )
    return mine > other
