"""The registry as the controller last saw it; it rereads what the change feed says has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from controller.rules import Hand, RuleMatches
from controller.state import NEVER
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
FACTS = 2000  # envelopes whose facts are kept, some 10 kB each
OF_ENVELOPES = frozenset({"envelope", "tag", "metric", "function", "proof"})
EVERYTHING = OF_ENVELOPES | {"deployment", "rule", "batch_job", "release"}


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
        self.facts = KnownFacts(registry)
        self.deployments: dict[str, DeploymentRow] = {}
        self.rules: list[RuleRow] = []
        self.pause: Pause | None = None
        self.seen = 0
        self._registry = registry
        self._monotonic = monotonic
        self._exclusions: dict[str, list[Exclusion]] = {}
        self._open: dict[str, list[ReleaseRow]] = {}
        self._histories: dict[str, list[ReleaseRow]] = {}
        self._read_at: float | None = None

    def refresh(self) -> frozenset[str]:
        """Catch up with the registry. Returns the kinds of changes there were; EVERYTHING at times.

        Raises StorageError; the next refresh then rereads everything.
        """
        is_due = self._read_at is None or self._monotonic() - self._read_at >= REREAD_S
        # The number is read before what it stands for: a change in between is read twice, not lost.
        if is_due:
            self._reread()
            return EVERYTHING
        changes = self._registry.changes(self.seen, limit=FEED_PAGE)
        if len(changes) == FEED_PAGE:
            self._reread()
            return EVERYTHING
        self._follow(changes)
        return frozenset(change.kind for change in changes)

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
        self.matches.forget()
        self.facts.forget()
        self._read_wanted()
        self._read_releases()
        self.seen, self._read_at = seen, self._monotonic()

    def _follow(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        read_at, self._read_at = self._read_at, None  # an error half-way rereads everything
        kinds = {change.kind for change in changes}
        if kinds & {"deployment", "rule"}:
            self._read_wanted()
        if "release" in kinds:
            self._read_releases()
        for envelope_id in {change.key for change in changes if change.kind in OF_ENVELOPES}:
            self.matches.envelope_changed(envelope_id)
            self.facts.envelope_changed(envelope_id)
        self.seen, self._read_at = changes[-1].seq, read_at

    def _read_wanted(self) -> None:
        self.deployments = {row.name: row for row in self._registry.deployments()}
        self.rules = self._registry.rules()
        self.pause = self._registry.pause()
        excluded: dict[str, list[Exclusion]] = defaultdict(list)
        for each in self._registry.exclusions():
            excluded[each.deployment].append(each)
        self._exclusions = dict(excluded)

    def _read_releases(self) -> None:
        found: dict[str, list[ReleaseRow]] = defaultdict(list)
        for row in self._registry.releases(open_only=True):
            found[row.deployment].append(row)
        self._open = dict(found)
        self._histories.clear()


def live_row(rows: Sequence[ReleaseRow]) -> ReleaseRow | None:
    """The release that serves: of several the one that became live last."""
    live = [row for row in rows if row.state == "live"]
    return max(live, key=lambda row: (row.live_at or NEVER, row.id), default=None)
