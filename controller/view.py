"""The registry as the controller last saw it; it rereads what the change feed says has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from controller.making import for_deployment, places, template_rules, to_make
from controller.matches import RuleMatches, challenger_of
from controller.rules import Hand
from controller.state import NEVER, MakeDeployment
from controller.values import RuleValues
from envelope.errors import ModelNotFound
from envelope.registry import (
    Change,
    DeploymentRow,
    EnvelopeFacts,
    Exclusion,
    Pause,
    Registry,
    ReleaseRow,
    RuleRow,
)

HISTORY = 200  # newest releases of one deployment in which failures are looked up
REREAD_S = 30.0  # everything, whatever the feed said
FEED_PAGE = 1000  # more changes than this at once: reread everything instead
RECHECK = 20  # rules whose matches are read again while nothing else happens, some 3 ms each
RECHECK_BUSY = 1  # and while something does, which is not to wait for them
FACTS = 2000  # envelopes whose facts are kept, some 10 kB each
OF_ENVELOPES = frozenset({"envelope", "tag", "metric", "function", "proof", "gate_run"})
EVERYTHING = OF_ENVELOPES | {"deployment", "rule", "batch_job", "release"}


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a refresh found. deployments: those for which another choice may be due; None: all."""

    kinds: frozenset[str]
    deployments: frozenset[str] | None

    def concerns(self, deployment: str) -> bool:
        return self.deployments is None or deployment in self.deployments


ALL_IS_NEW = News(kinds=EVERYTHING, deployments=None)


class KnownFacts:
    """What gates ask about envelopes, read once and again when the envelope has changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._of: dict[str, tuple[EnvelopeFacts, str | None]] = {}

    def __call__(self, envelope_id: str) -> tuple[EnvelopeFacts, str | None]:
        """The facts of an envelope, and what its last proof said if that failed."""
        if envelope_id not in self._of:
            while len(self._of) >= FACTS:
                del self._of[next(iter(self._of))]
            proofs = self._registry.proofs(envelope_id)
            failed = proofs[-1].detail if proofs and not proofs[-1].ok else None
            self._of[envelope_id] = (self._registry.facts(envelope_id), failed)
        return self._of[envelope_id]

    def envelope_changed(self, envelope_id: str) -> None:
        self._of.pop(envelope_id, None)

    def forget(self) -> None:
        self._of.clear()


class View:
    """A cache that is never older than the last `refresh`, which may raise StorageError."""

    def __init__(self, registry: Registry, *, monotonic: Callable[[], float]) -> None:
        self.matches = RuleMatches(registry)
        self.values = RuleValues(registry, self.matches)
        self.facts = KnownFacts(registry)
        self.deployments: dict[str, DeploymentRow] = {}
        self.pause: Pause | None = None
        self.seen = 0
        self._registry = registry
        self._monotonic = monotonic
        self._rules: dict[str, list[RuleRow]] = {}
        self._deployments_of: dict[str, set[str]] = {}  # query -> where its matches are wanted
        self._by_template: list[RuleRow] = []
        self._exclusions: dict[str, list[Exclusion]] = {}
        self._open: dict[str, list[ReleaseRow]] = {}
        self._histories: dict[str, list[ReleaseRow]] = {}
        self._read_at: float | None = None

    def refresh(self) -> News:
        """Catch up with the registry.

        Raises StorageError; the next refresh then rereads everything.
        """
        # The number is read before what it stands for: a change in between is read twice, not lost.
        if self._read_at is None:
            self.matches.forget()
            self.values.forget()
            self._reread()
            return ALL_IS_NEW
        if self._monotonic() - self._read_at >= REREAD_S:
            self.matches.doubt()
            self.values.doubt()
            self._reread()
            self.matches.recheck(RECHECK)
            self.values.recheck()
            return ALL_IS_NEW
        changes = self._registry.changes(self.seen, limit=FEED_PAGE)
        if len(changes) == FEED_PAGE:
            self.matches.forget()
            self.values.forget()
            self._reread()
            return ALL_IS_NEW
        return self._follow(changes)

    def to_make(self) -> list[MakeDeployment]:
        """The deployments that templates have still to make; [] until something changed."""
        if not (self.values.is_news and self._by_template) or self.pause is not None:
            return []

        def has_match(rule: RuleRow) -> bool:
            return next(self.matches.newest_first(rule), None) is not None

        found = to_make(places(self._by_template, self.deployments, self.values, has_match))
        self.values.is_news = bool(found)
        return found

    def rules_of(self, deployment: str) -> Sequence[RuleRow]:
        """The rules that deploy to a deployment, by name."""
        return self._rules.get(deployment, ())

    def open_releases(self, deployment: str) -> Sequence[ReleaseRow]:
        """The releases of a deployment that have not ended, newest first."""
        return self._open.get(deployment, ())

    def hand(self, deployment: str) -> Hand:
        """What people did to a deployment that rules give way to."""
        live = live_row(self.open_releases(deployment))
        return Hand(
            exclusions=self._exclusions.get(deployment, ()),
            live=live.envelope_id if live else None,
            pause=self.pause,
            challenger=challenger_of(
                self.deployments[deployment],
                self.rules_of(deployment),
                self.open_releases(deployment),
                self.matches,
                lambda envelope_id: self.facts(envelope_id)[0],
            ),
        )

    def open_ids(self) -> set[str]:
        """Every release that has not ended."""
        return {row.id for rows in self._open.values() for row in rows}

    def history(self, deployment: str) -> Sequence[ReleaseRow]:
        """The newest releases of a deployment, newest first."""
        if deployment not in self._histories:
            found = self._registry.releases(deployment, limit=HISTORY)
            self._histories[deployment] = found
        return self._histories[deployment]

    def _reread(self) -> None:
        self._read_at = None
        seen = self._registry.last_change()
        self.facts.forget()
        self._read_wanted()
        self._read_releases()
        self.seen, self._read_at = seen, self._monotonic()

    def _follow(self, changes: Sequence[Change]) -> News:
        read_at, self._read_at = self._read_at, None  # an error half-way rereads everything
        kinds = frozenset(change.kind for change in changes)
        queries = self.matches.recheck(RECHECK_BUSY if changes else RECHECK)
        if not changes:
            self.values.recheck()
        deployments: set[str] = set()
        if kinds & {"deployment", "rule"}:
            self._read_wanted()
        if "release" in kinds:
            deployments |= self._read_releases()
        for envelope_id in {change.key for change in changes if change.kind in OF_ENVELOPES}:
            concerned = self.matches.envelope_changed(envelope_id)
            self.values.envelope_changed(concerned, partial(self._facts_now, envelope_id))
            queries |= concerned
            deployments |= self._served_by(envelope_id)
            self.facts.envelope_changed(envelope_id)
        deployments.update(*(self._deployments_of.get(query, ()) for query in queries))
        self.seen, self._read_at = changes[-1].seq if changes else self.seen, read_at
        is_everywhere = bool(kinds & {"deployment", "rule", "function"})
        return News(kinds=kinds, deployments=None if is_everywhere else frozenset(deployments))

    def _facts_now(self, envelope_id: str) -> EnvelopeFacts | None:
        try:
            return self._registry.facts(envelope_id)
        except ModelNotFound:
            return None

    def _served_by(self, envelope_id: str) -> set[str]:
        """Where an envelope matters whatever rules ask: released, pinned or gone back to."""
        return {
            *(
                name
                for name, rows in self._open.items()
                if any(row.envelope_id == envelope_id for row in rows)
            ),
            *(row.name for row in self.deployments.values() if row.pin_envelope_id == envelope_id),
            *(
                name
                for name, rows in self._exclusions.items()
                if any(row.back_to == envelope_id for row in rows)
            ),
        }

    def _read_wanted(self) -> None:
        self.deployments = {row.name: row for row in self._registry.deployments()}
        rules: dict[str, list[RuleRow]] = defaultdict(list)
        wanted_by: dict[str, set[str]] = defaultdict(set)
        every = self._registry.rules()
        made: dict[str, list[DeploymentRow]] = defaultdict(list)
        for row in self.deployments.values():
            if row.made_of is not None:
                made[row.made_of.template].append(row)
        for rule in every:
            rules[rule.deploy_to].append(rule)
            wanted_by[rule.query].add(rule.deploy_to)
            for row in made[rule.deploy_to]:
                if narrow := for_deployment(rule, row):
                    rules[row.name].append(narrow)
                    wanted_by[narrow.query].add(row.name)
        self._by_template = template_rules(every)
        self.values.keep_only(self._by_template)
        self._rules, self._deployments_of = dict(rules), dict(wanted_by)
        self.matches.keep_only(wanted_by)
        self.pause = self._registry.pause()
        excluded: dict[str, list[Exclusion]] = defaultdict(list)
        for each in self._registry.exclusions():
            excluded[each.deployment].append(each)
        self._exclusions = dict(excluded)

    def _read_releases(self) -> set[str]:
        """Read the releases that have not ended; return where there are others than before."""
        found: dict[str, list[ReleaseRow]] = defaultdict(list)
        for row in self._registry.releases(open_only=True):
            found[row.deployment].append(row)
        before, self._open = self._open, dict(found)
        self._histories.clear()
        return {name for name in before.keys() | found if before.get(name) != found.get(name)}


def live_row(rows: Sequence[ReleaseRow]) -> ReleaseRow | None:
    """The release that serves: of several the one that became live last."""
    live = [row for row in rows if row.state == "live"]
    return max(live, key=lambda row: (row.live_at or NEVER, row.id), default=None)
