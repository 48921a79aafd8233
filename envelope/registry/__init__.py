"""The registry: the record of all that changes. One facade over one module per table family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from envelope.errors import ConfigError
from envelope.manifest import Manifest
from envelope.registry import (
    changes,
    envelopes,
    facts,
    fields,
    heartbeat,
    history,
    lease,
    metrics,
    migrate,
    proofs,
    tags,
    tokens,
)
from envelope.registry.changes import Change
from envelope.registry.delivery import BatchJobRow, RuleRow
from envelope.registry.delivery_registry import DeliveryRegistry
from envelope.registry.deployments import DeploymentRow
from envelope.registry.engine import BUSY_TIMEOUT_S, Clock, Database, open_database
from envelope.registry.envelopes import EnvelopePage, EnvelopeRow
from envelope.registry.exclusions import Exclusion, Pause
from envelope.registry.experiments import ArmCounts
from envelope.registry.fields import FieldPage, FieldRow
from envelope.registry.gate_runs import GateRun, RunState
from envelope.registry.heartbeat import ControllerRow
from envelope.registry.history import History
from envelope.registry.lease import Lease
from envelope.registry.metrics import MetricKind, MetricPage, MetricPoint, check_time
from envelope.registry.proofs import Proof, Report
from envelope.registry.protected_tags import refuse_protected
from envelope.registry.query import EnvelopeFacts, parse, query_from_tags
from envelope.registry.releases import ReleaseEvent, ReleaseRow, StaleRelease
from envelope.registry.search import read_cursor
from envelope.registry.tags import TagChange
from envelope.registry.templates import Made, TagValues, TemplateRow, narrowed
from envelope.registry.tokens import NewToken, Role, Token
from envelope.registry.versions import StaleState

__all__ = [
    "ArmCounts",
    "BatchJobRow",
    "Change",
    "ControllerRow",
    "DeploymentRow",
    "EnvelopeFacts",
    "EnvelopePage",
    "EnvelopeRow",
    "Exclusion",
    "FieldPage",
    "FieldRow",
    "GateRun",
    "History",
    "Lease",
    "Made",
    "MetricPage",
    "MetricPoint",
    "NewToken",
    "Pause",
    "Proof",
    "Registry",
    "ReleaseEvent",
    "ReleaseRow",
    "Report",
    "Role",
    "RuleRow",
    "RunState",
    "StaleRelease",
    "StaleState",
    "TagChange",
    "TagValues",
    "TemplateRow",
    "Token",
    "narrowed",
    "open_registry",
    "parse",
    "query_from_tags",
    "upgrade",
]

MAX_PAGE = 1000  # envelopes at once; a page of them is some 500 kB of JSON


def open_registry(
    url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S, clock: Clock | None = None
) -> Registry:
    """Open a registry. SQLite is created and migrated when needed, under a lock.

    busy_timeout_s: how long a call waits for another writer. clock: None is the registry's own, the
    database's on PostgreSQL.
    Raises StorageError when it cannot be used as it is, ConfigError for a URL that is no registry.
    """
    database = open_database(url, busy_timeout_s=busy_timeout_s, clock=clock)
    try:
        migrate.ensure_current(database)
    except BaseException:
        database.engine.dispose()
        raise
    return Registry(database)


def upgrade(url: str) -> str:
    """Bring the registry at `url` to this program's schema; return the schema's version."""
    database = open_database(url)
    try:
        return migrate.upgrade(database)
    finally:
        database.engine.dispose()


class Registry(DeliveryRegistry):
    """An open registry. May be used from many threads, and in a child process after a fork.

    Every method may raise StorageError when the database cannot be reached, or is locked for longer
    than the busy timeout. `actor` is who is written into the history.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._waiter = changes.Waiter(database)

    def close(self) -> None:
        """Close every connection."""
        self._waiter.close()
        self.database.engine.dispose()

    # --- envelopes

    def register(
        self,
        manifest: Manifest,
        manifest_sha256: str,
        *,
        actor: str,
        created_at: datetime | None = None,
    ) -> EnvelopeRow:
        """Add an envelope; the same one again is no change.

        created_at: None is the registry's clock; an import or rebuild gives the former time.
        Raises EnvelopeError when another envelope has this id, ConfigError for text that cannot be
        stored.
        """
        if created_at is not None:
            check_time(created_at, "created_at")
        return envelopes.register(
            self.database, manifest, manifest_sha256, actor=actor, created_at=created_at
        )

    def envelope(self, id_or_prefix: str) -> EnvelopeRow:
        """The envelope whose id begins like this. Raises ModelNotFound, naming candidates."""
        return envelopes.read_one(self.database, envelopes.resolve(self.database, id_or_prefix))

    def find(
        self, query: str = "", *, as_of: datetime | None = None, limit: int | None = None
    ) -> Iterator[EnvelopeRow]:
        """Matching envelopes, newest first, read in pages as the iterator is used.

        as_of: the registry as it was then: envelopes, tags, metrics, functions and proofs.
        Raises QueryError at once, before the first page is read.
        """
        if as_of is not None:
            as_of = check_time(as_of, "as_of").astimezone(UTC)
        if limit is not None and limit < 0:
            raise ConfigError(f"limit is {limit}; use a number from 0, or None for all")
        return envelopes.find(self.database, parse(query), as_of=as_of, limit=limit)

    def find_page(
        self,
        query: str = "",
        *,
        as_of: datetime | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> EnvelopePage:
        """One page of what `find` finds. cursor: `next_cursor` of the page before; None: the first.

        limit: 1 to MAX_PAGE envelopes. Raises QueryError, ConfigError.
        """
        if as_of is not None:
            as_of = check_time(as_of, "as_of").astimezone(UTC)
        if not 1 <= limit <= MAX_PAGE:
            raise ConfigError(f"limit is {limit}; use a number from 1 to {MAX_PAGE}")
        after = read_cursor(cursor)
        return envelopes.find_page(
            self.database, parse(query), as_of=as_of, after=after, limit=limit
        )

    def facts(self, envelope_id: str) -> EnvelopeFacts:
        """All that a query may ask about one envelope. Raises ModelNotFound."""
        with self.database.reading() as connection:
            found = facts.read_facts(connection, envelope_id)
        if found is None:
            raise envelopes.not_found(envelope_id)
        return found

    def add_function(self, envelope_id: str, name: str, sha256: str, *, actor: str) -> None:
        """Add a function. Raises EnvelopeError when the envelope has one of this name."""
        with changes.writing(self.database, actor) as writer:
            envelopes.add_function(writer, envelope_id, name, sha256)

    def history(self, envelope_id: str) -> History:
        """All that happened to an envelope, oldest first. Raises ModelNotFound."""
        return history.read_history(self.database, envelope_id)

    def import_envelope(
        self, manifest: Manifest, manifest_sha256: str, known: History, *, actor: str
    ) -> bool:
        """Add an envelope with its history. Return False, and change nothing, if it is here.

        Raises EnvelopeError when another envelope has this id, ConfigError for text that cannot be
        stored.
        """
        return envelopes.insert_once(
            self.database,
            manifest,
            manifest_sha256,
            actor=actor,
            insert_it=lambda writer: history.write_history(
                writer, manifest, manifest_sha256, known
            ),
        )

    # --- tags, metrics, proofs

    def set_tags(self, envelope_id: str, changed: Mapping[str, str | None], *, actor: str) -> None:
        """Set tags; None removes one. What is already so leaves no trace.

        Raises ConfigError for a tag that is protected and not for this actor to set.
        """
        with changes.writing(self.database, actor) as writer:
            refuse_protected(writer.connection, actor, changed)
            created_at = envelopes.lock(writer, envelope_id)
            tags.change_tags(
                writer, envelope_id, changed, registered_at=created_at, at=writer.now()
            )

    def check_may_tag(self, keys: Sequence[str], *, actor: str) -> None:
        """Raise ConfigError for a tag that is protected and not for this actor to set."""
        with self.database.reading() as connection:
            refuse_protected(connection, actor, keys)

    def tag_history(self, envelope_id: str) -> list[TagChange]:
        """Every change of an envelope's tags, oldest first."""
        return tags.read_history(self.database, envelope_id)

    def log_metrics(
        self,
        envelope_id: str,
        points: Mapping[str, Any],
        *,
        actor: str,
        at: datetime | None = None,
    ) -> None:
        """Add one point per metric: a number, or the JSON of a structured one. at: None is now."""
        with changes.writing(self.database, actor) as writer:
            envelopes.lock(writer, envelope_id)
            metrics.log_points(writer, envelope_id, points, at)

    def metrics(self, envelope_id: str) -> list[MetricPoint]:
        """Every point of one envelope: by name, then time."""
        return metrics.read_points(self.database, envelope_id)

    def metric_points(
        self,
        query: str,
        names: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        kind: MetricKind = "any",
    ) -> Iterator[MetricPoint]:
        """The points of matching envelopes, newest envelope first, read in pages.

        limit: of the newest so many envelopes; None: of all. kind: "number" leaves out structured
        values, NaN and infinity.
        """
        return metrics.find_points(self.database, parse(query), names, limit=limit, kind=kind)

    def metric_page(
        self, query: str = "", names: Sequence[str] | None = None, *, cursor: str | None = None
    ) -> MetricPage:
        """One page of `metric_points`: those of the next 200 envelopes. See `find_page`."""
        return metrics.find_page(self.database, parse(query), names, after=read_cursor(cursor))

    def field_page(
        self, query: str = "", names: Sequence[str] = (), *, cursor: str | None = None
    ) -> FieldPage:
        """What the next 500 matching envelopes have of some fields, newest first. See `find_page`.

        names: keys of the query language, at most 50: `metrics.auc` (the latest number),
        `hyperparameters.C`, `tags.region`. Raises QueryError, ConfigError.
        """
        keys = fields.read_fields(names)
        return fields.find_page(self.database, parse(query), keys, after=read_cursor(cursor))

    def add_proof(
        self,
        envelope_id: str,
        *,
        platform: str,
        ok: bool,
        actor: str,
        detail: str = "",
        report: Report | None = None,
    ) -> Proof:
        """Record a proof. The last one of a platform counts."""
        with changes.writing(self.database, actor) as writer:
            envelopes.lock(writer, envelope_id)
            return proofs.add_proof(writer, envelope_id, platform, ok, detail, report)

    def proofs(self, envelope_id: str) -> list[Proof]:
        """Every proof of an envelope, oldest first."""
        return proofs.read_proofs(self.database, envelope_id)

    # --- access to a registry server

    def create_token(self, holder: str, role: Role, *, actor: str) -> NewToken:
        """Make a token for the registry server. Its secret is in the answer and nowhere else.

        holder: the actor of every change that is made with it. Raises ConfigError.
        """
        with changes.writing(self.database, actor) as writer:
            return tokens.create(writer, holder, role)

    def revoke_token(self, token_id: str, *, actor: str) -> None:
        """Let a token count no longer. Raises ModelNotFound."""
        with changes.writing(self.database, actor) as writer:
            tokens.revoke(writer, token_id)

    def tokens(self) -> list[Token]:
        """Every token without its secret, oldest first, also those that were revoked."""
        return tokens.read_tokens(self.database)

    def token_of(self, secret: str) -> Token | None:
        """The token of this secret; None when there is none, or it was revoked."""
        return tokens.find(self.database, secret)

    # --- change feed, heartbeat and lease

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """The changes after number `after`, oldest first."""
        return changes.read_changes(self.database, after, limit)

    def recent_changes(
        self,
        *,
        by: str | None = None,
        kind: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Change]:
        """The newest changes, newest first: who changed what.

        by: one actor's. kind: of one kind. before: those before this number of a change.
        limit: 1 to MAX_PAGE. Raises ConfigError.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise ConfigError(f"limit is {limit}; use a number from 1 to {MAX_PAGE}")
        return changes.read_recent(self.database, actor=by, kind=kind, before=before, limit=limit)

    def last_change(self) -> int:
        """The number of the newest change; 0 when there is none."""
        return changes.last_change(self.database)

    def wait_for_change(self, after: int, timeout_s: float) -> bool:
        """Whether there is a change after `after`; waits up to `timeout_s` for one."""
        return self._waiter.wait(after, timeout_s)

    def beat(self, controller_id: str, *, host: str, pid: int) -> None:
        """Say that a controller is alive."""
        heartbeat.beat(self.database, controller_id, host=host, pid=pid)

    def last_beat(self) -> datetime | None:
        """When any controller was last alive; None if never."""
        return heartbeat.last_beat(self.database)

    def controllers(self, within_s: float) -> list[ControllerRow]:
        """The controllers that were alive within the last `within_s` seconds."""
        return heartbeat.read_controllers(self.database, within_s)

    def lease(self) -> Lease | None:
        """Which controller leads; None when none ever did."""
        return lease.read_lease(self.database)

    def claim_lease(self, holder: str, *, host: str, pid: int, ttl_s: float) -> Lease:
        """Take the lease if it is free or the holder's own; return it as it is then.

        ttl_s: how long it is held unless it is renewed. Another epoch than the one before, always.
        """
        return lease.claim(self.database, holder, host=host, pid=pid, ttl_s=ttl_s)

    def renew_lease(self, epoch: int, *, ttl_s: float) -> bool:
        """Hold the lease longer; False when another has taken it."""
        return lease.renew(self.database, epoch, ttl_s=ttl_s)

    def resign_lease(self, epoch: int) -> bool:
        """Let another take the lease at once; False when another has taken it already."""
        return lease.resign(self.database, epoch)

    def led_by(self, epoch: int) -> Registry:
        """This registry for the controller of one epoch, on the same connections.

        Its writes raise Deposed, and write nothing, once another has taken the lease.
        """
        return Registry(replace(self.database, fence=lease.fence(epoch)))
