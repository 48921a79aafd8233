"""The loop: see, plan, act, wait. It is woken by the registry's change feed, and by time."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Event

from controller.age import overdue
from controller.apply import Serve, application_of, perform
from controller.arms import Recorder
from controller.backoff import Backoff, Postponed
from controller.gates import Rejected
from controller.lease import STANDBY_S, Tenure
from controller.plan import plan
from controller.releases import Releases, is_retryable
from controller.rules import Choice, Hand, choose, describe_failure, failure_of, in_order
from controller.state import (
    NOT_SPLIT,
    TRIED,
    Action,
    App,
    CreateRelease,
    DeleteApp,
    Deploy,
    Desired,
    MakeDeployment,
    MoveRelease,
    Observed,
    Release,
    Rollback,
    is_waiting,
)
from controller.view import View, live_row
from controller.watchdog import Watchdog
from envelope.errors import Deposed, EnvelopeError, StorageError
from envelope.registry import DeploymentRow, Registry, ReleaseRow
from ray_runtime.traffic import Traffic

LOOK_AGAIN_S = 0.25  # while something starts; one look at Serve takes about 5 ms
IDLE_S = 2.0  # and a heartbeat at least as often
CHOOSING_S = 1.0  # of a turn at most; when 10,000 rules are read for the first time, others wait
FIRST_DELAY_S = 1.0  # after an error; doubled up to
LONGEST_DELAY_S = 30.0
JOIN_LIMIT_S = 180.0  # Serve may have to be started first
TURN_LIMIT_S = 60.0  # takes milliseconds; Ray asks a cluster that is gone for ever
REVIVE_S = 10.0  # before a live release that failed to start is started anew; doubled up to
LONGEST_REVIVE_S = 300.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn did. wait_s: until it is worth looking again, unless the registry changes."""

    actions: Sequence[Action]
    wait_s: float


class Controller:
    """What it remembers only saves work or times a start; all that matters is in the registry."""

    def __init__(
        self,
        *,
        registry: Registry,
        serve: Serve,
        releases: Releases,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self.view = View(registry, monotonic=monotonic)
        self._serve = serve
        self._releases = releases
        self._clock = clock
        self._recorder = Recorder(registry, monotonic)
        self._traffic: Mapping[str, Traffic] = {}
        self._monotonic = monotonic
        self._choices: dict[str, Choice] = {}  # until there is news of the deployment
        self._is_behind = False
        self._asked_at: dict[str, datetime] = {}
        self._waking: dict[str, datetime] = {}
        self._why: dict[str, str] = {}
        self._overdue: set[str] = set()
        self._revive = Postponed(Backoff(first_s=REVIVE_S, longest_s=LONGEST_REVIVE_S))
        self._retry = Postponed(Backoff(first_s=FIRST_DELAY_S, longest_s=LONGEST_DELAY_S))

    def turn(self) -> Turn:
        """See, plan and act once. Raises StorageError and ClusterError; the next turn goes on."""
        self._catch_up()
        now = self._clock()
        apps = self._serve.observe()
        # Where nothing stands beside a deployment, nothing can be sent there.
        self._traffic = self._serve.traffic() if any("--" in name for name in apps) else {}
        pairs = self._look(apps, now)
        observed = {wish.name: seen for wish, seen in pairs}
        planned = plan([wish for wish, _ in pairs], observed, now)
        self._recorder.record(observed, planned)
        actions: list[Action] = [*self.view.to_make(), *planned]
        perform(
            actions,
            registry=self._registry,
            serve=self._serve,
            prepared=self._releases.prepared,
        )
        self._remember(actions)
        moved = any(
            isinstance(action, MakeDeployment | CreateRelease | MoveRelease) for action in actions
        )
        if moved or self._is_behind:
            return Turn(actions=actions, wait_s=0.0)
        is_busy = bool(actions) or any(is_waiting(wish, seen) for wish, seen in pairs)
        return Turn(actions=actions, wait_s=LOOK_AGAIN_S if is_busy else IDLE_S)

    def _catch_up(self) -> None:
        news = self.view.refresh()
        if "function" in news.kinds:
            self._releases.forget()
        self._choices = {
            name: choice for name, choice in self._choices.items() if not news.concerns(name)
        }

    def _look(self, apps: Mapping[str, App], now: datetime) -> list[tuple[Desired, Observed]]:
        """What is wanted and what is seen of each deployment that can be judged now."""
        pairs: list[tuple[Desired, Observed]] = []
        began, self._is_behind = self._monotonic(), False
        for row in self.view.deployments.values():
            if self._retry.is_early(row.name, now):
                continue
            if row.name not in self._choices and self._monotonic() - began > CHOOSING_S:
                self._is_behind = True
                continue
            try:
                pairs.append((self._wish(row, now), self._see(row, apps, now)))
            except EnvelopeError as exc:
                if not is_retryable(exc):
                    raise
                delay_s = self._retry.postpone(row.name, now)
                facts = {"deployment": row.name, "reason": str(exc), "delay_s": delay_s}
                log.warning("deployment is tried again later", extra=facts)
            else:
                self._retry.forget(row.name)
        self._keep_open_only()
        asked = [wish.name for wish, seen in pairs if _is_in_doubt(wish, seen)]
        answers = self._serve.answering(asked) if asked else {}
        return [(wish, replace(seen, answering=answers.get(wish.name))) for wish, seen in pairs]

    def _wish(self, row: DeploymentRow, now: datetime) -> Desired:
        choice = self._choices.get(row.name)
        if choice is None or row.pin_until is not None:
            choice = choose_for(row, self.view, self._releases, now)
            self._choices[row.name] = choice
        if self._why.get(row.name) != choice.why:
            self._why[row.name] = choice.why
            facts = {"deployment": row.name, "why": choice.why}
            log.info("decided", extra=facts)
        return Desired(
            name=row.name, is_removed=row.is_removed, wanted=choice.wanted, why=choice.why
        )

    def _see(self, row: DeploymentRow, apps: Mapping[str, App], now: datetime) -> Observed:
        app = apps.get(row.name)
        challenger = apps.get(application_of(row.name, "challenger"))
        rows = self.view.open_releases(row.name)
        hand, facts = self.view.hand(row.name), self.view.facts
        live = compared_with(rows, hand)
        described = [
            replace(self._releases.describe(each, live, facts), rollback=_rollback(each, hand))
            for each in rows
        ]
        releases = [
            self._timed(each, challenger if each.state in TRIED else app, now) for each in described
        ]
        self._raise_alarm(row, live_row(rows), now)
        if app is not None and app.status == "running":
            self._revive.forget(row.name)
        return Observed(
            releases=releases,
            app=app,
            revive_after=self._revive.until.get(row.name),
            waking_since=self._waking_since(row.name, app, now),
            challenger=challenger,
            previous=apps.get(application_of(row.name, "previous")),
            traffic=self._traffic.get(row.name, NOT_SPLIT),
        )

    def _raise_alarm(self, row: DeploymentRow, live: ReleaseRow | None, now: datetime) -> None:
        """Log once that what is live has become too old, and once that it is not any more."""
        if row.config.max_age is None and row.name not in self._overdue:
            return
        saved_at = self.view.facts(live.envelope_id)[0].created_at if live else now
        reason = overdue(row.config, saved_at, now)
        if reason is not None and row.name not in self._overdue:
            self._overdue.add(row.name)
            log.warning("deployment is overdue", extra={"deployment": row.name, "reason": reason})
        elif reason is None and row.name in self._overdue:
            self._overdue.discard(row.name)
            log.info("deployment is not overdue any more", extra={"deployment": row.name})

    def _timed(self, release: Release, app: App | None, now: datetime) -> Release:
        """A start that another process asked for is timed from when this one first saw it."""
        is_target = app is not None and app.version == release.version
        if is_target and release.state in (*TRIED, "starting", "live"):
            self._asked_at.setdefault(release.id, now)
        return replace(release, asked_at=self._asked_at.get(release.id))

    def _waking_since(self, name: str, app: App | None, now: datetime) -> datetime | None:
        if app is None or not app.is_waking:
            self._waking.pop(name, None)
            return None
        return self._waking.setdefault(name, now)

    def _remember(self, actions: Sequence[Action]) -> None:
        now = self._clock()
        for action in actions:
            if isinstance(action, Deploy) and action.slot != "previous":
                self._asked_at[action.release_id] = now
            elif isinstance(action, MoveRelease) and action.to_state == "starting":
                self._asked_at.pop(action.release_id, None)  # a challenger's start is another
            elif isinstance(action, DeleteApp) and action.slot == "main":
                self._revive.postpone(action.deployment, now)

    def _keep_open_only(self) -> None:
        still_open = self.view.open_ids()
        self._releases.keep_only(still_open)
        self._asked_at = {key: at for key, at in self._asked_at.items() if key in still_open}


def compared_with(rows: Sequence[ReleaseRow], hand: Hand) -> ReleaseRow | None:
    """The live release that gates compare with: none that is being rolled back."""
    live = live_row(rows)
    return None if live is None or hand.against(live.envelope_id) else live


def _rollback(row: ReleaseRow, hand: Hand) -> Rollback | None:
    for each in reversed(hand.exclusions):
        if each.envelope_id == row.envelope_id:
            return Rollback(actor=each.actor, reason=each.reason)
    return None


def choose_for(row: DeploymentRow, view: View, releases: Releases, now: datetime) -> Choice:
    """Choose what a deployment should serve, from the registry as it is seen."""

    opened, hand = view.open_releases(row.name), view.hand(row.name)
    live = compared_with(opened, hand)

    def excluded(envelope_id: str) -> str | None:
        for each in opened:
            if (each.envelope_id, each.config_version) == (envelope_id, row.config_version):
                return None
        failure = failure_of(
            view.history(row.name),
            envelope_id,
            row.config_version,
            lambda: releases.version_now(row, envelope_id),
            lambda: isinstance(releases.verdict_now(row, envelope_id, live, view.facts), Rejected),
        )
        return describe_failure(failure) if failure else None

    rules = view.rules_of(row.name)
    candidates = in_order(row.name, rules, view.matches.newest_first)
    return choose(row, rules, candidates, excluded, now, hand)


def _is_in_doubt(wish: Desired, seen: Observed) -> bool:
    """Whether it matters what answers at the deployment's URL, and something may.

    Where there is no replica, a question would wake one; that is wanted only for a release that
    begins with what sleeps.
    """
    app = seen.app
    if app is not None and not app.may_answer:
        starting = (each.version for each in seen.releases if each.state == "starting")
        return app.status == "running" and app.target_replicas == 0 and app.version in starting
    is_running = app is not None and app.status == "running"
    return is_waiting(wish, seen) or (bool(seen.releases) and not is_running)


# --- again and again


Lead = Callable[[int], Controller]
"""Begins to lead by the epoch of a lease. May raise Deposed, StorageError and ClusterError."""


def run(
    registry: Registry,
    *,
    join: Callable[[], Lead],
    tenure: Tenure,
    controller_id: str,
    stop: Event,
    watchdog: Watchdog,
) -> None:
    """Take turns until `stop`, while this process leads; another that joined stands by.

    Errors that pass are waited out, and another may lead meanwhile; others end the process.
    join: joins the cluster, also again, and returns what makes a controller that knows nothing yet.
    """
    backoff = Backoff(first_s=FIRST_DELAY_S, longest_s=LONGEST_DELAY_S)
    lead: Lead | None = None
    led: tuple[int, Controller] | None = None
    with tenure.kept():
        while not stop.is_set():
            try:
                _beat(registry, controller_id)
                if lead is None:
                    with watchdog.limit("joining the cluster", JOIN_LIMIT_S):
                        lead = join()
                epoch = tenure.take()
                if epoch is None:
                    led = None
                    stop.wait(STANDBY_S)
                    continue
                if led is None or led[0] != epoch:
                    with watchdog.limit("taking over", JOIN_LIMIT_S):
                        led = (epoch, lead(epoch))
                _turn(led[1], registry, watchdog)
                backoff.count = 0
            except Deposed as exc:
                log.warning("deposed", extra={"reason": str(exc)})
                tenure.resign()
                led = None
            except EnvelopeError as exc:
                if not is_retryable(exc):
                    raise
                tenure.resign()
                lead = led = None
                delay_s = backoff.next_s()
                log.warning("trying again later", extra={"reason": str(exc), "delay_s": delay_s})
                _pause(registry, controller_id, delay_s, stop)


def _turn(controller: Controller, registry: Registry, watchdog: Watchdog) -> None:
    """Take a turn, and wait as long as it says or until the registry changes."""
    with watchdog.limit("a turn", TURN_LIMIT_S):
        turn = controller.turn()
    if turn.wait_s:
        registry.wait_for_change(controller.view.seen, turn.wait_s)


def _beat(registry: Registry, controller_id: str) -> None:
    registry.beat(controller_id, host=socket.gethostname(), pid=os.getpid())


def _pause(registry: Registry, controller_id: str, delay_s: float, stop: Event) -> None:
    left_s = delay_s
    while left_s > 0 and not stop.wait(min(left_s, IDLE_S)):
        left_s -= IDLE_S
        # The registry may be what cannot be reached.
        with contextlib.suppress(StorageError):
            _beat(registry, controller_id)
