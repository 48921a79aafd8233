"""The registry: the record of all that changes. One facade over one module per table family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from envelope.config import DeploymentConfig, DesiredState
from envelope.errors import ConfigError
from envelope.manifest import Manifest
from envelope.registry import (
    changes,
    delivery,
    envelopes,
    exclusions,
    facts,
    heartbeat,
    history,
    metrics,
    migrate,
    proofs,
    releases,
    tags,
)
from envelope.registry.changes import Change
from envelope.registry.delivery import BatchJobRow, DeploymentRow, RuleRow
from envelope.registry.engine import BUSY_TIMEOUT_S, Clock, Database, open_database
from envelope.registry.envelopes import EnvelopeRow
from envelope.registry.history import History
from envelope.registry.exclusions import Exclusion, Pause
from envelope.registry.metrics import MetricPoint, check_time
from envelope.registry.proofs import Proof, Report
from envelope.registry.query import EnvelopeFacts, parse, query_from_tags
from envelope.registry.releases import NewRelease, ReleaseEvent, ReleaseRow, StaleRelease
from envelope.registry.tags import TagChange

__all__ = [
    "BatchJobRow",
    "Change",
    "DeploymentRow",
    "EnvelopeFacts",
    "EnvelopeRow",
    "History",
    "Exclusion",
    "MetricPoint",
    "Pause",
    "Proof",
    "Registry",
    "ReleaseEvent",
    "ReleaseRow",
    "Report",
    "RuleRow",
    "StaleRelease",
    "TagChange",
    "open_registry",
    "parse",
    "query_from_tags",
    "upgrade",
]


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


class Registry:
    """An open registry. May be used from many threads, and in a child process after a fork.

    Every method may raise StorageError when the database cannot be reached, or is locked for longer
    than the busy timeout. `actor` is who is written into the history.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
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
        """Set tags; None removes one. What is already so leaves no trace."""
        with changes.writing(self.database, actor) as writer:
            created_at = envelopes.lock(writer, envelope_id)
            tags.change_tags(
                writer, envelope_id, changed, registered_at=created_at, at=writer.now()
            )

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
        self, query: str, names: Sequence[str] | None = None
    ) -> Iterator[MetricPoint]:
        """The points of every matching envelope, newest envelope first, read in pages."""
        return metrics.find_points(self.database, parse(query), names)

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

    # --- delivery

    def apply_state(self, state: DesiredState, *, actor: str) -> list[str]:
        """Create and update what the state names; a line for each change, [] for none.

        Raises ConfigError naming every rule whose deployment or query is wrong.
        """
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            return delivery.apply_state(writer, state)

    def deployments(self) -> list[DeploymentRow]:
        """Every deployment, by name; removed ones are flagged."""
        return delivery.read_deployments(self.database)

    def deployment_config(self, name: str, version: int) -> DeploymentConfig:
        """A deployment's config as it was in one version. Raises ConfigError when unknown."""
        return delivery.read_config(self.database, name, version)

    def rules(self) -> list[RuleRow]:
        """Every rule, by name."""
        return delivery.read_rules(self.database)

    def batch_jobs(self) -> list[BatchJobRow]:
        """Every batch job, by name."""
        return delivery.read_batch_jobs(self.database)

    def request_deploy(
        self, deployment: str, envelope_id: str, *, actor: str, until: datetime | None = None
    ) -> ReleaseRow:
        """Pin a deployment to an envelope and record a release; a controller carries it out.

        A deployment that is missing is created with the default config; a removed one comes back.
        Raises ModelNotFound; ConfigError for a name or an end time that cannot be, and for what was
        rolled back there.
        """
        if until is not None:
            check_time(until, "until")
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            envelopes.lock(writer, envelope_id)
            if until is not None and until <= writer.now():
                raise ConfigError(f"until, {until.isoformat()}, is over; use a time to come")
            row = delivery.put_deployment(writer, deployment)
            exclusions.refuse_excluded(writer, deployment, envelope_id)
            delivery.pin(writer, deployment, envelope_id, until)
            new = NewRelease(
                deployment=deployment,
                envelope_id=envelope_id,
                rule=None,
                rule_version=None,
                config_version=row.config_version,
                reason="deployed by hand",
            )
            release_id = releases.create(writer, new)
        return self.release(release_id)

    def unpin(self, deployment: str, *, actor: str) -> None:
        """Let rules decide again. Raises ConfigError for an unknown deployment."""
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            delivery.unpin(writer, deployment)

    def request_rollback(
        self, deployment: str, envelope_id: str, *, back_to: str, reason: str, actor: str
    ) -> None:
        """Keep an envelope off a deployment, and want another in its place; a pin is taken off.

        A controller carries it out. Raises ConfigError for an unknown deployment.
        """
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            delivery.existing_deployment(writer, deployment)
            delivery.unpin(writer, deployment)
            exclusions.exclude(writer, deployment, envelope_id, back_to=back_to, reason=reason)

    def allow(self, deployment: str, envelope_id: str, *, actor: str) -> bool:
        """Let an envelope that was rolled back be released again; whether it was excluded."""
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            delivery.existing_deployment(writer, deployment)
            return exclusions.allow(writer, deployment, envelope_id)

    def exclusions(self, deployment: str | None = None) -> list[Exclusion]:
        """What was rolled back and is not allowed again, oldest rollback first."""
        return exclusions.read_exclusions(self.database, deployment)

    def pause_all(self, reason: str, *, actor: str) -> bool:
        """Let no rule start anything; whether that is new."""
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            return exclusions.pause(writer, reason)

    def resume_all(self, *, actor: str) -> bool:
        """Let rules decide again; whether they were paused."""
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            return exclusions.resume(writer)

    def pause(self) -> Pause | None:
        """The pause of all rules that holds now."""
        return exclusions.read_pause(self.database)

    def request_undeploy(self, deployment: str, *, actor: str) -> None:
        """Want the deployment gone; its rules do nothing until it is deployed or applied again."""
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            delivery.remove(writer, deployment)

    def create_release(
        self,
        *,
        deployment: str,
        envelope_id: str,
        rule: str | None,
        rule_version: int | None,
        config_version: int,
        actor: str,
        reason: str,
        state: str = "candidate",
    ) -> ReleaseRow:
        """Record a release. Raises ConfigError for an unknown deployment, ModelNotFound."""
        new = NewRelease(
            deployment=deployment,
            envelope_id=envelope_id,
            rule=rule,
            rule_version=rule_version,
            config_version=config_version,
            reason=reason,
            state=state,
        )
        with changes.writing(self.database, actor) as writer:
            envelopes.lock(writer, envelope_id)
            delivery.existing_deployment(writer, deployment)
            release_id = releases.create(writer, new)
        return self.release(release_id)

    def move_release(
        self,
        release_id: str,
        to_state: str,
        *,
        reason: str,
        actor: str,
        expected: str | None = None,
        app_version: str | None = None,
    ) -> ReleaseRow:
        """Move a release to its next state, and record why and as which application.

        Raises StaleRelease when it is not in `expected`, EnvelopeError for a move that cannot be.
        """
        with changes.writing(self.database, actor) as writer:
            releases.move(
                writer,
                release_id,
                to_state,
                reason=reason,
                expected=expected,
                app_version=app_version,
            )
        return self.release(release_id)

    def releases(
        self,
        deployment: str | None = None,
        *,
        open_only: bool = False,
        limit: int | None = None,
    ) -> list[ReleaseRow]:
        """Releases, newest first. open_only: those that have not ended."""
        return releases.read_many(self.database, deployment, open_only=open_only, limit=limit)

    def release(self, release_id: str) -> ReleaseRow:
        """One release. Raises EnvelopeError when there is none."""
        return releases.read_one(self.database, release_id)

    def release_events(self, release_id: str) -> list[ReleaseEvent]:
        """Every transition of a release, oldest first."""
        return releases.read_events(self.database, release_id)

    # --- change feed and heartbeat

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """The changes after number `after`, oldest first."""
        return changes.read_changes(self.database, after, limit)

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
