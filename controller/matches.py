"""The newest matches of each rule, read once and then kept by asking about each changed envelope.

A change is not held against every rule: an index over what the queries mention names those that it
may concern. A query that is a conjunction with `tags.k = 'v'` in it, as rules are, can only match
an envelope with that tag; queries without one are asked about every change.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controller.rules import Candidate, experiment_of, in_order
from envelope.errors import ModelNotFound
from envelope.registry import (
    DeploymentRow,
    EnvelopeFacts,
    Registry,
    ReleaseRow,
    RuleRow,
    parse,
)
from envelope.registry.query import Query, matches
from envelope.registry.query.tree import And, Compare, Node

PAGE = 32  # matches kept per rule; a deployment needs the first that has not failed
MOST = 4 * PAGE  # what comes anew is kept up to here

Tag = tuple[str, str]


@dataclass(slots=True)
class _Newest:
    """The newest matches of a query: (created_at, id), newest first. is_all: there are no more."""

    query: Query
    rows: list[tuple[datetime, str]] = field(default_factory=list)
    is_all: bool = False


class QueryIndex:
    """Which queries an envelope may concern, by one tag that each of them wants."""

    def __init__(self) -> None:
        self._by_tag: dict[Tag, set[str]] = defaultdict(set)
        self._tag_of: dict[str, Tag | None] = {}

    def add(self, text: str, query: Query) -> None:
        """Of several tags that a query wants, the one that the fewest others are found by."""
        if text in self._tag_of:
            return
        tags = list(wanted_tags(query.root))
        tag = min(tags, key=lambda tag: len(self._by_tag.get(tag, ())), default=None)
        self._tag_of[text] = tag
        self._by_tag[tag or _ANY].add(text)

    def concerned(self, facts: EnvelopeFacts) -> Iterator[str]:
        """Every query that may match, and some that do not."""
        for tag in [_ANY, *facts.tags.items()]:
            yield from self._by_tag.get(tag, ())

    def drop(self, text: str) -> None:
        self._by_tag[self._tag_of.pop(text) or _ANY].discard(text)


_ANY: Tag = ("", "")  # no tag has an empty key


def challenger_of(
    deployment: DeploymentRow,
    rules: Sequence[RuleRow],
    releases: Sequence[ReleaseRow],
    matches: RuleMatches,
    facts_of: Callable[[str], EnvelopeFacts],
) -> Candidate | None:
    """The challenger of the experiment that is under way, if it still matches a rule.

    releases: of the deployment, that have not ended.
    """
    row = experiment_of(deployment, releases)
    if row is None:
        return None
    facts = facts_of(row.envelope_id)
    return next(in_order(deployment.name, rules, lambda rule: matches.of(rule, facts)), None)


def wanted_tags(node: Node | None) -> Iterator[Tag]:
    """The tags without which a query matches nothing."""
    if isinstance(node, And):
        for term in node.terms:
            yield from wanted_tags(term)
    elif isinstance(node, Compare) and (node.key.source, node.operator) == ("tag", "="):
        yield node.key.name, str(node.value)


class RuleMatches:
    """The newest matches of each rule, as of the last change that it was told of."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._newest: dict[str, _Newest] = {}
        self._index = QueryIndex()
        self._holding: dict[str, set[str]] = defaultdict(set)  # envelope -> queries it is kept for
        self._due: deque[str] = deque()

    def forget(self) -> None:
        """Read everything again when next asked."""
        self._newest.clear()
        self._index = QueryIndex()
        self._holding.clear()
        self._due.clear()

    def keep_only(self, wanted: Container[str]) -> None:
        """Drop what is known of queries that no rule has any more."""
        for text in [text for text in self._newest if text not in wanted]:
            self._set_rows(text, [])
            self._index.drop(text)
            del self._newest[text]

    def doubt(self) -> None:
        """Read every query again, a few at a time by `recheck`; until then what is known holds."""
        self._due = deque(self._newest)

    def recheck(self, count: int) -> set[str]:
        """Read up to `count` of the queries in doubt; return those that had become wrong."""
        wrong: set[str] = set()
        for _ in range(min(count, len(self._due))):
            text = self._due.popleft()
            known = self._newest.get(text)
            if known is None:
                continue
            rows, was_all = known.rows, known.is_all
            now = self._fetch(text, max(len(rows) - 1, 0))
            both = min(len(rows), len(now.rows))
            is_same = rows[:both] == now.rows[:both] and was_all == now.is_all
            if not is_same or (was_all and len(rows) != len(now.rows)):
                wrong.add(text)
        return wrong

    def newest_first(self, rule: RuleRow) -> Iterator[Candidate]:
        """The matches of a rule, newest first, read in pages as the iterator is used."""
        seen = 0
        while True:
            known = self._read(rule.query, seen + 1)
            page = known.rows[seen:]
            for created_at, envelope_id in page:
                yield Candidate(envelope_id=envelope_id, created_at=created_at, rule=rule)
            if known.is_all or not page:
                return
            seen += len(page)

    def of(self, rule: RuleRow, facts: EnvelopeFacts) -> Iterator[Candidate]:
        """One envelope as a match of a rule; nothing when it is none."""
        if matches(self._read(rule.query, 1).query, facts):
            yield Candidate(envelope_id=facts.id, created_at=facts.created_at, rule=rule)

    def envelope_changed(self, envelope_id: str) -> set[str]:
        """Ask about one envelope again. Returns the queries that it matches or did match."""
        if not self._newest:
            return set()
        try:
            facts = self._registry.facts(envelope_id)
        except ModelNotFound:
            facts = None
        before = set(self._holding.get(envelope_id, ()))
        after = set() if facts is None else set(self._matching(facts))
        for text in before | after:
            known = self._newest[text]
            rows = [row for row in known.rows if row[1] != envelope_id]
            if facts is not None and text in after:
                row = (facts.created_at, facts.id)
                # Beyond the last row that is kept there may be others that were never read.
                if known.is_all or (rows and row > rows[-1]):
                    rows = sorted([*rows, row], reverse=True)
                    known.is_all &= len(rows) <= MOST
            self._set_rows(text, rows[:MOST])
        return before | after

    def _matching(self, facts: EnvelopeFacts) -> Iterator[str]:
        for text in self._index.concerned(facts):
            if matches(self._newest[text].query, facts):
                yield text

    def _read(self, text: str, at_least: int) -> _Newest:
        known = self._newest.get(text)
        if known is None or (len(known.rows) < at_least and not known.is_all):
            return self._fetch(text, at_least)
        return known

    def _fetch(self, text: str, at_least: int) -> _Newest:
        limit = PAGE * (1 + at_least // PAGE)
        rows = [(row.created_at, row.id) for row in self._registry.find(text, limit=limit)]
        if text not in self._newest:
            self._newest[text] = _Newest(query=parse(text))
            self._index.add(text, self._newest[text].query)
        self._newest[text].is_all = len(rows) < limit
        self._set_rows(text, rows)
        return self._newest[text]

    def _set_rows(self, text: str, rows: list[tuple[datetime, str]]) -> None:
        known = self._newest[text]
        for _, envelope_id in known.rows:
            holding = self._holding[envelope_id]
            holding.discard(text)
            if not holding:
                del self._holding[envelope_id]
        known.rows = rows
        for _, envelope_id in rows:
            self._holding[envelope_id].add(text)
