"""Which values the matches of each template rule have, read once and then kept by each change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Set

from controller.making import read_values
from controller.matches import RuleMatches
from envelope.deployment_names import NoName, read_template, values_of
from envelope.registry import EnvelopeFacts, Registry, RuleRow, TagValues, parse
from envelope.registry.query import matches

Tags = tuple[str, ...]  # in the order of the template's keys


class RuleValues:
    """What no match has any more may still be among them, until it is read again.

    is_news: there may be other values than when this was last set to False.
    """

    def __init__(self, registry: Registry, known: RuleMatches) -> None:
        self._registry = registry
        self._matches = known
        self._of: dict[str, tuple[RuleRow, dict[Tags, TagValues]]] = {}
        self._due: deque[str] = deque()
        self.is_news = True

    def forget(self) -> None:
        """Read everything again when next asked."""
        self._of.clear()
        self._due.clear()
        self.is_news = True

    def keep_only(self, rules: Iterable[RuleRow]) -> None:
        """Drop what is known of rules that are others now."""
        kept = {rule.name: (rule.query, rule.deploy_to) for rule in rules}
        for name, (rule, _) in list(self._of.items()):
            if kept.get(name) != (rule.query, rule.deploy_to):
                del self._of[name]
        self.is_news = True

    def doubt(self) -> None:
        """Read every rule's again, one at a time by `recheck`, those in doubt already first."""
        self._due = self._due or deque(self._of)

    def recheck(self) -> None:
        """Let one rule in doubt be read again."""
        if self._due:
            self._of.pop(self._due.popleft(), None)
            self.is_news = True

    def __call__(self, rule: RuleRow) -> list[TagValues]:
        """The values of a rule, in their order."""
        if rule.name not in self._of:
            next(self._matches.newest_first(rule), None)  # from now on changes are told
            keys = read_template(rule.deploy_to).keys
            found = read_values(self._registry, rule)
            self._of[rule.name] = rule, {tuple(each.tags[k] for k in keys): each for each in found}
        known = self._of[rule.name][1]
        return [known[tags] for tags in sorted(known)]

    def envelope_changed(
        self, queries: Set[str], facts: Callable[[], EnvelopeFacts | None]
    ) -> None:
        """Add the values of an envelope that matches these queries, or did."""
        for rule, known in self._of.values():
            if rule.query not in queries:
                continue
            self.is_news = True
            found = facts()
            if found is None or not matches(parse(rule.query), found):
                continue
            tags = values_of(read_template(rule.deploy_to), found.tags)
            if not isinstance(tags, NoName):
                known[tuple(tags.values())] = TagValues(tags=tags, envelope_id=found.id)
