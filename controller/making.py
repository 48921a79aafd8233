"""Deployments that rule templates make: one for each value of a tag among a rule's matches.

A rule with a template is, for each deployment that belongs to the template, a rule that narrows its
query to the deployment's tags. So whatever decides about rules knows nothing of templates; what is
decided here is who a name belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.state import MakeDeployment
from envelope.config import DeploymentConfig
from envelope.deployment_names import (
    NoName,
    describe,
    is_template,
    name_of,
    read_template,
    values_of,
)
from envelope.registry import DeploymentRow, Made, Registry, RuleRow, TagValues, narrowed
from envelope.registry.templates import MOST_VALUES

MOST_MADE = 100  # deployments of one template; a template of a run's id would fill any cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the matches of a rule that have the same tags are wanted.

    made_of: the template and the tags. envelope_id: one of the matches. name: of the deployment;
    None where there can be none. against: why they are no candidates there; None: they are, or will
    be once it is made. is_due: it has to be made, instead_of whom the name belongs to now.
    """

    rule: RuleRow
    made_of: Made
    envelope_id: str
    name: str | None
    against: str | None = None
    is_due: bool = False
    instead_of: Made | None = None


def template_rules(rules: Iterable[RuleRow]) -> list[RuleRow]:
    """The rules that deploy to a template."""
    return [rule for rule in rules if is_template(rule.deploy_to)]


def for_deployment(rule: RuleRow, row: DeploymentRow) -> RuleRow | None:
    """What a rule wants of one deployment; None for a rule that does not deploy to it."""
    if rule.deploy_to == row.name:
        return rule
    made_of = row.made_of
    if made_of is None or made_of.template != rule.deploy_to:
        return None
    return replace(rule, deploy_to=row.name, query=narrowed(rule.query, made_of.tags))


def rules_of(row: DeploymentRow, rules: Iterable[RuleRow]) -> list[RuleRow]:
    """The rules of one deployment, in their order, each with the query that it has there."""
    found = (for_deployment(rule, row) for rule in rules)
    return [rule for rule in found if rule is not None]


def is_one_match(registry: Registry) -> Callable[[RuleRow], bool]:
    """Whether a rule matches anything, asked of the registry."""
    return lambda rule: next(registry.find(rule.query, limit=1), None) is not None


def read_values(registry: Registry, rule: RuleRow) -> Sequence[TagValues]:
    """What a rule's template makes deployments of, as the registry has it now."""
    return registry.tag_values(rule.query, read_template(rule.deploy_to).keys, limit=MOST_VALUES)


def places(
    rules: Sequence[RuleRow],
    deployments: Mapping[str, DeploymentRow],
    values: Callable[[RuleRow], Iterable[TagValues]],
    has_match: Callable[[RuleRow], bool],
) -> Iterator[Place]:
    """Say where the matches of each template rule are wanted, and which deployments are to be made.

    rules: all of them. values: what the matches of a rule have. has_match: of a rule as
    `for_deployment` gives it. A name belongs to the tags that had it first, while any match has
    them; then to the next.
    """
    mine = template_rules(rules)
    known = dict(deployments)
    count: dict[str, int] = {}
    for row in known.values():
        if row.made_of is not None and not row.is_removed:
            count[row.made_of.template] = count.get(row.made_of.template, 0) + 1
    for rule in sorted(mine, key=lambda rule: (-rule.priority, rule.name)):
        for found in values(rule):
            made_of = Made(template=rule.deploy_to, tags=found.tags)
            place = _place(rule, made_of, found.envelope_id, known, count, has_match, mine)
            if place.is_due and place.name is not None:
                count[rule.deploy_to] = count.get(rule.deploy_to, 0) + 1
                known[place.name] = _as_made(place.name, made_of, known.get(place.name))
            yield place


def placed(registry: Registry, rules: Sequence[RuleRow] | None = None) -> list[Place]:
    """Where the matches of template rules are wanted, asked of the registry. rules: None: all."""
    known = {row.name: row for row in registry.deployments()}
    every = registry.rules() if rules is None else rules
    has_match = is_one_match(registry)
    return list(places(every, known, lambda rule: read_values(registry, rule), has_match))


def places_of(registry: Registry, rule: RuleRow) -> list[Place]:
    """Where the matches of one template rule are wanted, as if it were there and not paused."""
    others = [row for row in registry.rules() if row.name != rule.name]
    found = placed(registry, [*others, replace(rule, paused=False)])
    return [place for place in found if place.rule.name == rule.name]


def rule_at(place: Place) -> RuleRow:
    """What the rule wants there: its query for these tags alone."""
    return _narrow(place.rule, place.made_of, place.name or place.rule.deploy_to)


def describe_place(place: Place) -> str:
    """Say on one line where it is wanted, or why not."""
    tags = describe(place.made_of.tags)
    if place.against is None:
        return f"{place.name} ({tags})"
    return f"no deployment for {tags}: {place.against}"


def place_record(place: Place) -> dict[str, Any]:
    """Return it as programs read it. deployment: None where there is none; against says why."""
    return {
        "rule": place.rule.name,
        "tags": dict(place.made_of.tags),
        "deployment": None if place.against else place.name,
        "against": place.against,
        "envelope_id": place.envelope_id,
    }


def unmade(registry: Registry) -> list[Place]:
    """The tags of matches for which there is no deployment, or another's; each says why."""
    return [place for place in placed(registry) if place.against is not None]


def to_make(found: Iterable[Place]) -> list[MakeDeployment]:
    """What has to be done for it."""
    return [
        MakeDeployment(
            deployment=place.name,
            made_of=place.made_of,
            instead_of=place.instead_of,
            reason=f"rule {place.rule.name} matches {describe(place.made_of.tags)}",
        )
        for place in found
        if place.is_due and place.name is not None
    ]


def against(rule: RuleRow, tags: Mapping[str, str], deployment: DeploymentRow) -> str:
    """Why a match of a template rule, with these tags, is no candidate on one deployment."""
    template = read_template(rule.deploy_to)
    values = values_of(template, tags)
    name = values if isinstance(values, NoName) else name_of(template, values)
    if isinstance(name, NoName):
        return f"rule {rule.name}: {name.why}"
    if name != deployment.name:
        return f"rule {rule.name} wants it on {name}"
    if deployment.made_of is None:
        return f"rule {rule.name} wants it here; no controller has given it the name yet"
    return f"rule {rule.name}: {_belongs(name, deployment.made_of)}"


def _place(
    rule: RuleRow,
    made_of: Made,
    envelope_id: str,
    known: Mapping[str, DeploymentRow],
    count: Mapping[str, int],
    has_match: Callable[[RuleRow], bool],
    rules: Sequence[RuleRow],
) -> Place:
    name = name_of(read_template(made_of.template), made_of.tags)
    if isinstance(name, NoName):
        return Place(
            rule=rule, made_of=made_of, envelope_id=envelope_id, name=None, against=name.why
        )
    place = Place(rule=rule, made_of=made_of, envelope_id=envelope_id, name=name)
    row = known.get(name)
    owner = row.made_of if row is not None else None
    if owner == made_of:
        return place
    if owner is not None and _is_held(owner, name, has_match, rules):
        return replace(place, against=_belongs(name, owner))
    if row is not None and row.is_removed and not (row.is_made and owner is None):
        undeployed = f"{name} is undeployed; `envelope deploy` or an entry brings it back"
        return replace(place, against=undeployed)
    if rule.paused:
        return replace(place, against=f"rule {rule.name} is paused")
    if count.get(made_of.template, 0) >= MOST_MADE:
        most = (
            f"{made_of.template} has {MOST_MADE} deployments, the most that one template makes; "
            "narrow the query, or undeploy some"
        )
        return replace(place, against=most)
    is_due = has_match(_narrow(rule, made_of, name))
    return replace(place, is_due=is_due, instead_of=owner)


def _is_held(
    owner: Made, name: str, has_match: Callable[[RuleRow], bool], rules: Sequence[RuleRow]
) -> bool:
    holders = [rule for rule in rules if rule.deploy_to == owner.template]
    return any(has_match(_narrow(rule, owner, name)) for rule in holders)


def _narrow(rule: RuleRow, made_of: Made, name: str) -> RuleRow:
    return replace(rule, deploy_to=name, query=narrowed(rule.query, made_of.tags))


def _belongs(name: str, owner: Made) -> str:
    return f"the name {name} belongs to {describe(owner.tags)} of {owner.template}"


def _as_made(name: str, made_of: Made, row: DeploymentRow | None) -> DeploymentRow:
    """What it will be, for those that come after it."""
    if row is not None:
        return replace(row, made_of=made_of, is_removed=False)
    return DeploymentRow(
        name=name,
        config=DeploymentConfig(),
        config_version=1,
        pin_envelope_id=None,
        pin_until=None,
        pinned_by=None,
        is_removed=False,
        made_of=made_of,
        is_made=True,
    )
