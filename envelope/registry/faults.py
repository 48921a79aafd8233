"""What is wrong with what is to be wanted, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import suppress

from envelope.config import DesiredState, RuleConfig, check_deployment_key
from envelope.deployment_names import is_template, read_template
from envelope.errors import ConfigError, QueryError
from envelope.registry.query import parse
from envelope.registry.templates import narrowed
from envelope.registry.text import check_key

ANY_VALUE = "x" * 63  # no longer one makes a deployment's name


def faults_of(state: DesiredState, known: Set[str]) -> Iterator[str]:
    """A line for each fault. known: the deployments that have an entry already."""
    for name in state.deployments:
        try:
            check_deployment_key(name)
        except ConfigError as exc:
            yield str(exc)
    there = known | set(state.deployments)
    for name, rule in state.rules.items():
        yield from _name_fault("rule", name)
        if is_template(rule.deploy_to):
            yield from _template_fault(name, rule)
        elif rule.deploy_to not in there:
            names = ", ".join(sorted(there)) or "none"
            yield (
                f"rule {name!r} deploys to {rule.deploy_to!r}, which is no deployment; add "
                f"`deployments: {{{rule.deploy_to}: {{}}}}` to the file (there are: {names})"
            )
        yield from _query_fault(f"rule {name!r}", rule.query)
    for name, job in state.batch_jobs.items():
        yield from _name_fault("batch job", name)
        yield from _query_fault(f"batch job {name!r}", job.query)


def _template_fault(name: str, rule: RuleConfig) -> Iterator[str]:
    try:
        values = dict.fromkeys(read_template(rule.deploy_to).keys, ANY_VALUE)
    except ConfigError as exc:
        yield f"rule {name!r} deploys to a template that cannot be: {exc}"
        return
    with suppress(QueryError):  # a query that is wrong by itself is told beside this
        parse(rule.query)
        yield from _query_fault(f"rule {name!r} for one value", narrowed(rule.query, values))


def _name_fault(kind: str, name: str) -> Iterator[str]:
    try:
        check_key(name, f"the name of {kind} {name!r}")
    except ConfigError as exc:
        yield str(exc)


def _query_fault(where: str, query: str) -> Iterator[str]:
    try:
        parse(query)
    except QueryError as exc:
        yield f"the query of {where} cannot be understood: {exc}"
