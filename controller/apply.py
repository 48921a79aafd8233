"""Carrying out what was planned: writes to the registry, calls to Serve. It decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from controller.state import (
    Action,
    App,
    AskGate,
    CreateRelease,
    DeleteApp,
    Deploy,
    MakeDeployment,
    MoveRelease,
    RollBack,
    SetSplit,
    Slot,
)
from envelope.registry import Registry, StaleRelease
from ray_runtime.traffic import Split, Traffic

ACTOR = "controller"  # who is written into the history

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An application that Serve can be asked for. version: equal ones touch no replica.

    has_answered: whether it may begin without a replica, where load decides.
    """

    deployment: str
    envelope_id: str
    version: str
    spec: Any
    slot: Slot = "main"
    has_answered: bool = False

    @property
    def application(self) -> str:
        """Its name in Serve."""
        return application_of(self.deployment, self.slot)


def application_of(deployment: str, slot: Slot) -> str:
    """The name of an application; no deployment's name has `--`."""
    return deployment if slot == "main" else f"{deployment}--{slot}"


class Serve(Protocol):
    """What the controller needs of Ray Serve. Every call may raise ClusterError."""

    def observe(self) -> Mapping[str, App]:
        """Every application there is, by name."""

    def answering(self, deployments: Sequence[str]) -> Mapping[str, str | None]:
        """The envelope that answers at the URL of each deployment; None for none."""

    def deploy(self, applications: Sequence[Prepared]) -> None:
        """Make these the targets of their applications; returns before they run."""

    def delete(self, applications: Sequence[str]) -> None:
        """Begin to delete applications; those that are not there are none of its concern."""

    def traffic(self) -> Mapping[str, Traffic]:
        """How the queries of deployments are split now; those not named are not."""

    def split(self, splits: Mapping[str, Split | None]) -> None:
        """Split the queries of these deployments so from now on; None: not at all."""


def perform(
    actions: Sequence[Action],
    *,
    registry: Registry,
    serve: Serve,
    prepared: Callable[[str], Prepared],
) -> None:
    """Carry out actions in their order; the calls to Serve last, all applications in one.

    How queries are split comes first: it follows from what is recorded, and a rollback waits for
    it. The release that it ends may be moved by another meanwhile; the next turn sees that.

    prepared: the application of a release, by its id. May raise StorageError or ClusterError after
    any of them; planning again then goes on from there.
    """
    _split([action for action in actions if isinstance(action, SetSplit)], serve)
    moved_by_another: set[str] = set()
    for action in actions:
        if action.deployment in moved_by_another:
            continue
        try:
            if isinstance(action, MakeDeployment):
                _make(action, registry)
            elif isinstance(action, CreateRelease):
                _create(action, registry)
            elif isinstance(action, AskGate):
                _ask(action, registry)
            elif isinstance(action, MoveRelease):
                _move(action, registry)
            elif isinstance(action, RollBack):
                _roll_back(action, registry)
        except StaleRelease as exc:
            moved_by_another.add(action.deployment)
            log.info("release was moved by another", extra={"reason": str(exc)})
    mine = [action for action in actions if action.deployment not in moved_by_another]
    _delete([action for action in mine if isinstance(action, DeleteApp)], serve)
    _deploy([action for action in mine if isinstance(action, Deploy)], serve, prepared)


def _make(action: MakeDeployment, registry: Registry) -> None:
    is_mine = registry.make_deployment(
        action.deployment, action.made_of, actor=ACTOR, instead_of=action.instead_of
    )
    facts = {"deployment": action.deployment, "reason": action.reason}
    log.info("deployment made" if is_mine else "deployment is another's by now", extra=facts)


def _create(action: CreateRelease, registry: Registry) -> None:
    wanted = action.wanted
    row = registry.create_release(
        deployment=action.deployment,
        envelope_id=wanted.envelope_id,
        rule=wanted.rule,
        rule_version=wanted.rule_version,
        config_version=wanted.config_version,
        actor=ACTOR,
        reason=wanted.reason,
    )
    _log_state(action.deployment, row.id, "candidate", wanted.reason)


def _ask(action: AskGate, registry: Registry) -> None:
    asked = action.asked
    registry.ask_gate_run(
        action.deployment, action.envelope_id, asked.gate, spec=asked.spec, actor=ACTOR
    )
    facts = {"deployment": action.deployment, "envelope": action.envelope_id, "gate": asked.gate}
    log.info("gate asked for", extra=facts)


def _move(action: MoveRelease, registry: Registry) -> None:
    registry.move_release(
        action.release_id,
        action.to_state,
        reason=action.reason,
        actor=action.actor or ACTOR,
        expected=action.from_state,
        app_version=action.app_version,
        step=action.step,
    )
    _log_state(action.deployment, action.release_id, action.to_state, action.reason)


def _roll_back(action: RollBack, registry: Registry) -> None:
    registry.request_rollback(
        action.deployment,
        action.envelope_id,
        back_to=action.back_to,
        reason=action.reason,
        actor=ACTOR,
    )
    facts = {"deployment": action.deployment, "envelope": action.envelope_id}
    log.warning("rolling back", extra=facts | {"reason": action.reason})


def _split(actions: Sequence[SetSplit], serve: Serve) -> None:
    for action in actions:
        percent = 0.0 if action.split is None else action.split.percent
        log.info("splitting queries", extra={"deployment": action.deployment, "percent": percent})
    if actions:
        serve.split({action.deployment: action.split for action in actions})


def _delete(actions: Sequence[DeleteApp], serve: Serve) -> None:
    for action in actions:
        facts = {"deployment": action.deployment, "slot": action.slot, "reason": action.reason}
        log.info("deleting application", extra=facts)
    if actions:
        serve.delete([application_of(action.deployment, action.slot) for action in actions])


def _deploy(actions: Sequence[Deploy], serve: Serve, prepared: Callable[[str], Prepared]) -> None:
    for action in actions:
        facts = {"deployment": action.deployment, "release": action.release_id}
        facts |= {"slot": action.slot}
        log.info("deploying application", extra=facts)
    if actions:
        serve.deploy(
            [
                replace(prepared(each.release_id), slot=each.slot, has_answered=each.has_answered)
                for each in actions
            ]
        )


def _log_state(deployment: str, release_id: str, state: str, reason: str) -> None:
    facts = {"deployment": deployment, "release": release_id, "state": state, "reason": reason}
    log.info("release moved", extra=facts)
