"""From a release's row to what Serve would be asked for, and what speaks against asking."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from controller.apply import Prepared
from controller.gate_jobs import gates_that_run
from controller.gates import Held, Passed, Subject, Verdict, gates_of, judge
from controller.state import NEVER, ON_THEIR_WAY, Release
from envelope.config import DeploymentConfig
from envelope.errors import ClusterError, EnvelopeError, IntegrityError, StorageError
from envelope.manifest import Function
from envelope.registry import (
    DeploymentRow,
    EnvelopeFacts,
    EnvelopeRow,
    GateRun,
    Registry,
    ReleaseRow,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an application is made of. functions: name -> sha256, those of the release."""

    deployment: str
    release_id: str
    envelope: EnvelopeRow
    functions: Mapping[str, str]
    config: DeploymentConfig


Prepare = Callable[[Request], Prepared]
ReadFunction = Callable[[str, str, str], Function]  # envelope id, name, sha256
FactsOf = Callable[[str], tuple[EnvelopeFacts, str | None]]  # and why its last proof failed

UNJUDGED = ("held", *ON_THEIR_WAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why there can be no application, until something changes."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    found: Prepared | Fault
    config: DeploymentConfig
    functions: Mapping[str, str]


class Releases:
    """Prepares releases, once each. Nothing of a model is loaded: rows and manifests only."""

    def __init__(
        self,
        registry: Registry,
        *,
        prepare: Prepare,
        read_function: ReadFunction,
    ) -> None:
        self._registry = registry
        self._prepare = prepare
        self._read_function = read_function
        self._of_releases: dict[str, _Known] = {}
        self._of_now: dict[tuple[str, str, int], Prepared | Fault] = {}

    def forget(self) -> None:
        """Try again what could not be prepared; what may have changed is worked out anew."""
        self._of_now.clear()
        known = self._of_releases.items()
        self._of_releases = {key: each for key, each in known if isinstance(each.found, Prepared)}

    def keep_only(self, release_ids: set[str]) -> None:
        """Drop what is known of all other releases."""
        known = self._of_releases.items()
        self._of_releases = {key: each for key, each in known if key in release_ids}

    def prepared(self, release_id: str) -> Prepared:
        """The application of a release that `describe` was asked for. Raises KeyError otherwise."""
        found = self._of_releases[release_id].found
        assert isinstance(found, Prepared)
        return found

    def describe(self, row: ReleaseRow, live: ReleaseRow | None, facts: FactsOf) -> Release:
        """Say what would run, and what the gates say. live: what it is compared with.

        Raises StorageError when the store or registry cannot be read.
        """
        known = self._known(row)
        return Release(
            id=row.id,
            envelope_id=row.envelope_id,
            config_version=row.config_version,
            state=row.state,
            reason=row.reason,
            start_timeout_s=known.config.start_timeout_s,
            version=known.found.version if isinstance(known.found, Prepared) else None,
            fault=known.found.reason if isinstance(known.found, Fault) else None,
            verdict=self._judge(row, live, facts) if row.state in UNJUDGED else Passed(),
            live_at=row.live_at or NEVER,
            rollout=known.config.rollout,
            keep_warm_s=known.config.keep_warm_s,
            step=row.step,
            step_since=row.step_since,
        )

    def version_now(self, deployment: DeploymentRow, envelope_id: str) -> str | None:
        """The version of the application that a new release would start; None where none can be."""
        key = (deployment.name, envelope_id, deployment.config_version)
        if key not in self._of_now:
            self._of_now[key] = self._try(
                lambda: self._request_now(deployment, envelope_id), deployment.name
            )
        found = self._of_now[key]
        return found.version if isinstance(found, Prepared) else None

    def verdict_now(
        self, deployment: DeploymentRow, envelope_id: str, live: ReleaseRow | None, facts: FactsOf
    ) -> Verdict:
        """What the gates would say of a new release."""
        functions = facts(envelope_id)[0].functions
        return self._verdict(
            deployment.name, deployment.config, (envelope_id, functions), live, facts
        )

    def _known(self, row: ReleaseRow) -> _Known:
        if row.id not in self._of_releases:
            config = self._registry.deployment_config(row.deployment, row.config_version)
            functions = self._functions_at(row.envelope_id, row.created_at)
            self._of_releases[row.id] = _Known(
                found=self._try(lambda: self._request_for(row, config, functions), row.deployment),
                config=config,
                functions=functions,
            )
        return self._of_releases[row.id]

    def _try(self, request: Callable[[], Request], deployment: str) -> Prepared | Fault:
        try:
            return self._prepare(request())
        except EnvelopeError as exc:
            if is_retryable(exc):
                raise
            log.warning(
                "application cannot be prepared",
                extra={"deployment": deployment, "reason": str(exc)},
            )
            return Fault(reason=str(exc))

    def _request_for(
        self, row: ReleaseRow, config: DeploymentConfig, functions: Mapping[str, str]
    ) -> Request:
        return Request(
            deployment=row.deployment,
            release_id=row.id,
            envelope=self._registry.envelope(row.envelope_id),
            functions=functions,
            config=config,
        )

    def _request_now(self, deployment: DeploymentRow, envelope_id: str) -> Request:
        envelope = self._registry.envelope(envelope_id)
        return Request(
            deployment=deployment.name,
            release_id="",
            envelope=envelope,
            functions=envelope.functions,
            config=deployment.config,
        )

    def _functions_at(self, envelope_id: str, at: datetime) -> Mapping[str, str]:
        """A release keeps the functions that there were: one added later waits for the next."""
        rows = list(self._registry.find(f"id = '{envelope_id}'", as_of=at))
        return rows[0].functions if rows else self._registry.envelope(envelope_id).functions

    def _judge(self, row: ReleaseRow, live: ReleaseRow | None, facts: FactsOf) -> Verdict:
        known = self._known(row)
        candidate = (row.envelope_id, known.functions)
        return self._verdict(row.deployment, known.config, candidate, live, facts)

    def _verdict(
        self,
        deployment: str,
        config: DeploymentConfig,
        candidate: tuple[str, Mapping[str, str]],
        live: ReleaseRow | None,
        facts: FactsOf,
    ) -> Verdict:
        gates = gates_of(config)
        runs = self._runs(deployment, config, candidate[0])
        other = (live.envelope_id, self._known(live).functions) if live else None
        try:
            return judge(
                gates,
                replace(self._subject(*candidate, facts), runs=runs),
                self._subject(*other, facts) if other else None,
            )
        except EnvelopeError as exc:
            if is_retryable(exc):
                raise
            return Held(reason=f"it cannot be judged: {exc}")

    def _runs(
        self, deployment: str, config: DeploymentConfig, envelope_id: str
    ) -> Mapping[str, GateRun]:
        """What was recorded of the gates that run; nothing is read where none does."""
        if not gates_that_run(config):
            return {}
        return {run.gate: run for run in self._registry.gate_runs(deployment, envelope_id)}

    def _subject(self, envelope_id: str, functions: Mapping[str, str], facts: FactsOf) -> Subject:
        found, failed_proof = facts(envelope_id)
        return Subject(
            facts=found,
            functions={
                name: self._read_function(envelope_id, name, sha256)
                for name, sha256 in functions.items()
            },
            failed_proof=failed_proof,
        )


def is_retryable(error: EnvelopeError) -> bool:
    """Whether the same call may succeed later though nothing was changed."""
    return isinstance(error, StorageError | ClusterError) and not isinstance(error, IntegrityError)
