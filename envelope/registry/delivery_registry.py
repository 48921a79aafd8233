"""The part of the registry that says what should run where, and what did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from envelope.config import DeploymentConfig, DesiredState
from envelope.deployment_names import MOST_TAGS
from envelope.errors import ConfigError
from envelope.registry import (
    changes,
    delivery,
    deployments,
    envelopes,
    exclusions,
    experiments,
    gate_runs,
    releases,
    versions,
)
from envelope.registry.delivery import BatchJobRow, RuleRow
from envelope.registry.deployments import DeploymentRow
from envelope.registry.engine import Database
from envelope.registry.exclusions import Exclusion, Pause
from envelope.registry.experiments import Arm, ArmCounts
from envelope.registry.gate_runs import GateRun, RunState
from envelope.registry.metrics import check_time
from envelope.registry.query import parse
from envelope.registry.releases import NewRelease, ReleaseEvent, ReleaseRow
from envelope.registry.templates import (
    MOST_VALUES,
    Made,
    TagValues,
    TemplateRow,
    check_made,
    read_tag_values,
    read_templates,
)
from envelope.registry.text import check_key


class DeliveryRegistry:
    """Deployments, rules, batch jobs and releases. See `Registry`, which it is a part of."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def apply_state(
        self,
        state: DesiredState,
        *,
        actor: str,
        rest: delivery.Rest = "keep",
        expected: Mapping[str, int] | None = None,
    ) -> list[str]:
        """Create and update what the state names; a line for each change, [] for none.

        rest: what becomes of what it does not name. expected: the versions that the caller saw,
        such as {"rules.us": 3}, 0 for what is new.
        Raises ConfigError naming every rule whose deployment or query is wrong, StaleState when
        something is not as the caller saw it.
        """
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            versions.refuse_stale(writer.connection, expected or {})
            return delivery.apply_state(writer, state, rest)

    def plan_state(
        self, state: DesiredState, *, actor: str, rest: delivery.Rest = "keep"
    ) -> list[str]:
        """What `apply_state` would change; nothing is written. Raises what it would raise."""
        with changes.trying(self.database, actor) as writer:
            writer.lock_delivery()
            return delivery.apply_state(writer, state, rest)

    def state(self) -> DesiredState:
        """All deployments, rules and batch jobs that are wanted."""
        return delivery.read_state(self.database)

    def deployments(self) -> list[DeploymentRow]:
        """Every deployment, by name; removed ones are flagged."""
        return deployments.read_deployments(self.database)

    def deployment_config(self, name: str, version: int) -> DeploymentConfig:
        """A deployment's config as it was in one version. Raises ConfigError when unknown."""
        return deployments.read_config(self.database, name, version)

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
        Gates that ran on the cluster and did not pass run again.
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
            row = deployments.put_deployment(writer, deployment)
            exclusions.refuse_excluded(writer, deployment, envelope_id)
            deployments.pin(writer, deployment, envelope_id, until)
            gate_runs.ask_again(writer, deployment, envelope_id)
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
            deployments.unpin(writer, deployment)

    def request_rollback(
        self, deployment: str, envelope_id: str, *, back_to: str, reason: str, actor: str
    ) -> None:
        """Keep an envelope off a deployment, and want another in its place; a pin is taken off.

        A controller carries it out. Raises ConfigError for an unknown deployment.
        """
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            deployments.existing_deployment(writer, deployment)
            deployments.unpin(writer, deployment)
            exclusions.exclude(writer, deployment, envelope_id, back_to=back_to, reason=reason)

    def end_experiment(
        self, deployment: str, winner: Arm, *, reason: str, actor: str
    ) -> ReleaseRow:
        """Say who won a deployment's experiment: its challenger takes over, or is kept off as after
        a rollback.

        A controller carries it out. Returns the challenger's release. Raises ConfigError where
        there is no experiment, or its challenger cannot have won: it has not begun to answer.
        """
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            release_id = experiments.end(writer, deployment, winner, reason)
        return self.release(release_id)

    def arms(self, release_id: str) -> list[ArmCounts]:
        """What the arms of an experiment answered, by the release of its challenger.

        [] where nothing was counted. It is counted to within some seconds.
        """
        return experiments.read(self.database, release_id)

    def record_arms(self, release_id: str, counting: str, counts: Sequence[ArmCounts]) -> None:
        """Keep what the arms of an experiment have answered. counting: it began at zero.

        What the same counting said before is forgotten; what others did is added to it.
        """
        experiments.record(self.database, release_id, counting, counts)

    def allow(self, deployment: str, envelope_id: str, *, actor: str) -> bool:
        """Let an envelope that was rolled back be released again; whether it was excluded."""
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            deployments.existing_deployment(writer, deployment)
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
            deployments.remove(writer, deployment)

    def make_deployment(
        self, deployment: str, made_of: Made, *, actor: str, instead_of: Made | None = None
    ) -> bool:
        """Let a template's tags have a deployment, which is created when it is missing.

        instead_of: to whom the name belonged as the caller saw it. Returns whether it could be: a
        deployment that was undeployed, or belongs to somebody else, stays as it is.
        Raises ConfigError for a template that cannot be, or makes another name of these tags.
        """
        check_made(deployment, made_of)
        with changes.writing(self.database, actor) as writer:
            writer.lock_delivery()
            return deployments.make_deployment(writer, deployment, made_of, instead_of=instead_of)

    def templates(self) -> list[TemplateRow]:
        """Every template whose deployments have a config in common, by its text."""
        with self.database.reading() as connection:
            return list(read_templates(connection).values())

    def tag_values(self, query: str, keys: Sequence[str], *, limit: int) -> list[TagValues]:
        """Each combination of values of these tags that matches have, in the order of the values.

        keys: 1 to MOST_TAGS. limit: 1 to MOST_VALUES. Raises QueryError, ConfigError.
        """
        asked = parse(query)
        for key in keys:
            check_key(key, "the key of a tag")
        if not 1 <= len(keys) <= MOST_TAGS:
            raise ConfigError(f"there are {len(keys)} keys; ask for 1 to {MOST_TAGS} at once")
        if not 1 <= limit <= MOST_VALUES:
            raise ConfigError(f"limit is {limit}; use a number from 1 to {MOST_VALUES}")
        with self.database.reading() as connection:
            return read_tag_values(connection, asked, keys, limit)

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
            deployments.existing_deployment(writer, deployment)
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
        step: int | None = None,
    ) -> ReleaseRow:
        """Move a release to its next state, and record why and as which application.

        step: of its rollout that begins now; None keeps what is recorded.

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
                step=step,
            )
        return self.release(release_id)

    def releases(
        self,
        deployment: str | None = None,
        *,
        envelope_id: str | None = None,
        open_only: bool = False,
        limit: int | None = None,
    ) -> list[ReleaseRow]:
        """Releases, newest first. open_only: those that have not ended."""
        return releases.read_many(
            self.database,
            deployment,
            envelope_id=envelope_id,
            open_only=open_only,
            limit=limit,
        )

    def live_at(self, deployment: str, at: datetime) -> list[ReleaseRow]:
        """The releases that were live then: one, two while one took the other's place, or none."""
        return releases.read_live_at(self.database, deployment, check_time(at, "at"))

    def release(self, release_id: str) -> ReleaseRow:
        """One release. Raises EnvelopeError when there is none."""
        return releases.read_one(self.database, release_id)

    def release_events(self, release_id: str) -> list[ReleaseEvent]:
        """Every transition of a release, oldest first."""
        return releases.read_events(self.database, release_id)

    # --- gates that run on the cluster

    def ask_gate_run(
        self,
        deployment: str,
        envelope_id: str,
        gate: str,
        *,
        spec: Mapping[str, Any],
        actor: str,
    ) -> bool:
        """Ask for a gate to run for an envelope on a deployment, once; whether that is new."""
        with changes.writing(self.database, actor) as writer:
            envelopes.lock(writer, envelope_id)
            return gate_runs.ask(writer, deployment, envelope_id, gate, spec)

    def record_gate_run(self, run: GateRun, state: RunState, reason: str, *, actor: str) -> bool:
        """Record how far a gate's run is; False where it has ended meanwhile, or is another."""
        with changes.writing(self.database, actor) as writer:
            return gate_runs.record(writer, run, state, reason)

    def gate_runs(self, deployment: str, envelope_id: str) -> list[GateRun]:
        """What the gates that run on the cluster said of an envelope on a deployment."""
        return gate_runs.read_of(self.database, deployment, envelope_id)

    def gate_runs_under_way(self) -> list[GateRun]:
        """The runs that have not ended, of those not begun only what an open release waits for."""
        return gate_runs.read_under_way(self.database)
