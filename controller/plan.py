"""What to do next, from what is wanted and what is seen. Values in, actions out; no I/O.

One call plans one step for each deployment. Every step is a single write to the registry or an
idempotent call to Serve, and follows from what is recorded and seen, never from what this process
remembers having done; so it may be killed between any two of them.

A deployment with nothing in progress is held at its live release: Serve's target is put (back) to
it when it differs, which rebuilds an empty cluster and undoes a start that failed. To put back what
Serve runs already touches no replica, since its version is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from controller import rollout, warm
from controller.gates import Passed, Rejected, Waiting
from controller.state import (
    TRIED,
    Action,
    App,
    AskGate,
    CreateRelease,
    DeleteApp,
    Deploy,
    Desired,
    MoveRelease,
    Observed,
    Release,
    SetSplit,
    Wanted,
    live_of,
)
from ray_runtime.traffic import Split


def plan(
    desired: Iterable[Desired], observed: Mapping[str, Observed], now: datetime
) -> list[Action]:
    """Return the next step of each deployment; [] when all is as it should be.

    What `desired` does not name is left alone.
    """
    actions: list[Action] = []
    for deployment in desired:
        seen = observed.get(deployment.name, Observed())
        if deployment.is_removed:
            actions += _remove(deployment, seen, now)
        else:
            actions += _converge(deployment, seen, now)
    return actions


# --- one deployment


def _converge(desired: Desired, seen: Observed, now: datetime) -> list[Action]:
    name, wanted = desired.name, desired.wanted
    live = live_of(seen.releases)
    arrived, going = _arrived(seen, live), _going_on(seen, live)
    current = arrived or _current(seen.releases, wanted)
    actions = _traffic(name, seen, warm.split(name, live, wanted, seen, now))
    beside = rollout.tidy(name, seen.releases, seen) + warm.keep(name, current, live, seen, now)
    is_changing = bool(actions)
    actions += [each for each in beside if isinstance(each, Deploy) or not is_changing]
    kept = [each for each in (live, current, *going) if each is not None]
    actions += _retire_others(name, seen.releases, live, kept, desired)
    if arrived is not None:
        return actions + _go_live(name, arrived, live)
    for release in going:
        if release is not current and _is_target(release, seen.app):
            actions += _start(name, release, live, seen, now)
    if current is not None:
        return actions + _advance(name, current, live, seen, now)
    if wanted is not None and not _serves(live, wanted):
        return [*actions, _create(name, wanted, live)]
    return actions + _keep(name, live, seen, now)


def _traffic(name: str, seen: Observed, first: Split | None) -> list[Action]:
    """Split queries as it is wanted; what nobody is sent to any more is removed a turn later."""
    wanted = first or rollout.split(name, seen.releases, seen)
    return [] if seen.traffic.split == wanted else [SetSplit(deployment=name, split=wanted)]


def _create(name: str, wanted: Wanted, live: Release | None) -> CreateRelease:
    if live is not None and live.envelope_id == wanted.envelope_id:
        change = f"config changed: version {live.config_version} -> {wanted.config_version}"
        wanted = replace(wanted, reason=f"{change}; {wanted.reason}")
    return CreateRelease(deployment=name, wanted=wanted)


def _serves(release: Release | None, wanted: Wanted) -> bool:
    return release is not None and (release.envelope_id, release.config_version) == (
        wanted.envelope_id,
        wanted.config_version,
    )


def _arrived(seen: Observed, live: Release | None) -> Release | None:
    """The release that answers already and is not recorded as live, whatever is wanted by now.

    To give it up would silence a deployment on which nothing else is live.
    """
    starting = [release for release in seen.releases if _may_start(release)]
    arrived = [release for release in starting if _answers(release, seen)]
    if live is None:  # Serve may be asked for another one by now, beside which this one came up
        arrived += [release for release in starting if release.envelope_id == seen.answering]
    return next(iter(arrived), None)


def _may_start(release: Release) -> bool:
    is_good = isinstance(release.verdict, Passed) and release.rollback is None
    return release.state == "starting" and is_good


def _going_on(seen: Observed, live: Release | None) -> list[Release]:
    """The starts that are not given up for something newer: those of a deployment's first release.

    They may answer at any moment, and then they are what is live on it.
    """
    app = seen.app
    if live is not None or app is None or app.status == "deleting":
        return []
    starting = [release for release in seen.releases if _may_start(release)]
    if app.status == "failed" or not any(_is_target(each, app) for each in starting):
        return [each for each in starting if _is_target(each, app)]
    return starting


def _is_target(release: Release, app: App | None) -> bool:
    """Whether a release is what Serve was asked for last."""
    return app is not None and None is not release.version == app.version


def _answers(release: Release, seen: Observed) -> bool:
    """Whether a release is what Serve runs and what answers at the deployment's URL."""
    app = seen.app
    is_running = app is not None and app.status == "running" and _is_target(release, app)
    return is_running and seen.answering == release.envelope_id


def _current(releases: Sequence[Release], wanted: Wanted | None) -> Release | None:
    """The newest release on its way to what is wanted. A live one is not on its way any more."""
    if wanted is None:
        return None
    on_their_way = (release for release in releases if release.state != "live")
    return next((release for release in on_their_way if _serves(release, wanted)), None)


def _retire_others(
    name: str,
    releases: Sequence[Release],
    live: Release | None,
    kept: Sequence[Release],
    desired: Desired,
) -> list[Action]:
    actions: list[Action] = []
    for release in releases:
        if any(release is each for each in kept):
            continue
        if release.state == "live":
            assert live is not None
            reason = f"replaced by envelope {live.envelope_id} (release {live.id})"
        elif desired.wanted is not None:
            reason = f"superseded by envelope {desired.wanted.envelope_id}: {desired.wanted.reason}"
        else:
            reason = f"no longer wanted: {desired.why}"
        actions.append(_give_up(name, release, reason))
    return actions


def _give_up(name: str, release: Release, reason: str) -> MoveRelease:
    """End a release for another one. After a rollback it is whoever wanted that who ends it."""
    rollback = release.rollback
    if rollback is None:
        return _move(name, release, "retired", reason)
    reason = f"rolled back: {rollback.reason}; {reason}"
    return replace(_move(name, release, "rolled_back", reason), actor=rollback.actor)


def _move(
    name: str, release: Release, to_state: str, reason: str, app_version: str | None = None
) -> MoveRelease:
    return MoveRelease(
        deployment=name,
        release_id=release.id,
        from_state=release.state,
        to_state=to_state,
        reason=reason,
        app_version=app_version,
    )


# --- a release on its way


def _advance(
    name: str, current: Release, live: Release | None, seen: Observed, now: datetime
) -> list[Action]:
    if current.fault is not None:
        return [_move(name, current, "failed", current.fault, current.version)]
    if current.state in ("candidate", "held") or not isinstance(current.verdict, Passed):
        return _judge(name, current, live, seen, now)
    if current.state == "gated":
        if live is not None and rollout.is_gradual(current, live):
            return rollout.begin(name, current, live, seen) + _keep(name, live, seen, now)
        return _prepare(name, current, live, seen, now)
    if current.state in TRIED:
        return rollout.advance(name, current, live, seen, now) + _keep(name, live, seen, now)
    return _start(name, current, live, seen, now)


def _judge(
    name: str, current: Release, live: Release | None, seen: Observed, now: datetime
) -> list[Action]:
    verdict = current.verdict
    if isinstance(verdict, Passed):
        return [_move(name, current, "gated", verdict.reason)]
    if isinstance(verdict, Rejected):
        return [_move(name, current, "rejected", verdict.reason, current.version)]
    asks: list[Action] = []
    to_state = "held"
    if isinstance(verdict, Waiting):
        asks = [
            AskGate(deployment=name, envelope_id=current.envelope_id, asked=asked)
            for asked in verdict.to_ask
        ]
        # Nobody has to do anything about it, so it is not held.
        to_state = "candidate" if current.state in ("candidate", "held") else "held"
    kept = _keep(name, live, seen, now)
    if (current.state, current.reason) == (to_state, verdict.reason):
        return [*asks, *kept]
    return [*asks, _move(name, current, to_state, verdict.reason), *kept]


def _prepare(
    name: str, current: Release, live: Release | None, seen: Observed, now: datetime
) -> list[Action]:
    """Begin the start, once Serve remembers no failure of the same version.

    Otherwise it would be taken for the failure of this start.
    """
    app = seen.app
    if app is not None and app.status == "deleting":
        return []
    if app is not None and app.status == "failed" and app.version == current.version:
        if live is not None and live.version not in (None, current.version):
            return [_back(name, live)]
        if seen.answering is None:
            return [DeleteApp(deployment=name, reason="its earlier start failed")]
    return [_move(name, current, "starting", f"starting {current.envelope_id}")]


def _start(
    name: str, current: Release, live: Release | None, seen: Observed, now: datetime
) -> list[Action]:
    app = seen.app
    is_target = _is_target(current, app)
    if app is not None and is_target and app.status == "failed":
        reason = app.message or "Serve gives no reason; see the replica's log"
        return [_move(name, current, "failed", reason, current.version)]
    if is_target and _is_late(current, now):  # what another took the place of begins anew
        reason = _timeout_reason(current, seen, now)
        return [_move(name, current, "failed", reason, current.version)]
    if is_target or (app is not None and app.status == "deleting"):
        return []
    restoring = _restore_first(name, live, seen, now)
    return [Deploy(deployment=name, release_id=current.id)] if restoring is None else restoring


def _go_live(name: str, arrived: Release, live: Release | None) -> list[Action]:
    replaced = [] if live is None else [_replaced(name, live, arrived)]
    return [_move(name, arrived, "live", "answers at its URL"), *replaced]


def _replaced(name: str, old: Release, new: Release) -> MoveRelease:
    reason = f"replaced by envelope {new.envelope_id} (release {new.id})"
    return _give_up(name, old, reason)


def _timeout_reason(current: Release, seen: Observed, now: datetime) -> str:
    """Say how long it took of what was allowed, what answered, and what Serve says is missing."""
    app = seen.app
    return (
        f"not live {_waited_s(current, now):.0f} s after it was started, start_timeout_s is "
        f"{current.start_timeout_s:g}; at its URL answers {seen.answering or 'nothing'}; "
        f"Serve says {app.status if app else 'no application'}: {app.message if app else ''}"
    ).rstrip(": ")


def _restore_first(
    name: str, live: Release | None, seen: Observed, now: datetime
) -> list[Action] | None:
    """Bring back what was live before something new is tried, in a cluster that lost everything.

    None when there is nothing to restore, or it cannot be: the new one must not wait for ever.
    """
    app = seen.app
    if live is None or live.version is None:
        return None
    if app is None:
        return [_back(name, live)]
    is_coming = (app.status, app.version, seen.answering) == ("starting", live.version, None)
    return [] if is_coming and not _is_late(live, now) else None


def _back(name: str, live: Release) -> Deploy:
    """Put back what is live. It need not prove again that it answers."""
    return Deploy(deployment=name, release_id=live.id, has_answered=True)


def _is_late(release: Release, now: datetime) -> bool:
    return release.asked_at is not None and _waited_s(release, now) >= release.start_timeout_s


def _waited_s(release: Release, now: datetime) -> float:
    return 0.0 if release.asked_at is None else (now - release.asked_at).total_seconds()


# --- nothing on its way


def _keep(name: str, live: Release | None, seen: Observed, now: datetime) -> list[Action]:
    app = seen.app
    if app is not None and app.status == "deleting":
        return []
    if live is None:
        if app is None or app.version is None or _going_on(seen, live):
            return []
        return [DeleteApp(deployment=name, reason="nothing is live on it")]
    if live.version is None:
        return []
    if app is None or app.version != live.version:
        return [_back(name, live)]
    may_revive = seen.revive_after is None or now >= seen.revive_after
    if app.status == "failed" and seen.answering is None and may_revive:
        return [DeleteApp(deployment=name, reason=f"to start it anew: {app.message}")]
    return _end_waiting(name, live, seen, now)


def _end_waiting(name: str, live: Release, seen: Observed, now: datetime) -> list[Action]:
    """End a start from no replicas that hangs: those that wait get an error, the next one tries."""
    app, since = seen.app, seen.waking_since
    if app is None or since is None:
        return []
    waited_s = (now - since).total_seconds()
    if waited_s < live.start_timeout_s:
        return []
    reason = (
        f"its first replica did not start within {waited_s:.0f} s of a query, start_timeout_s is "
        f"{live.start_timeout_s:g}: {app.message}"
    ).rstrip(": ")
    return [DeleteApp(deployment=name, reason=reason)]


def _remove(desired: Desired, seen: Observed, now: datetime) -> list[Action]:
    """Stop what is on its way, delete the application, and record it once it is gone."""
    name, app = desired.name, seen.app
    on_their_way = [release for release in seen.releases if release.state != "live"]
    is_split = seen.traffic.split is not None
    actions: list[Action] = [SetSplit(deployment=name, split=None)] if is_split else []
    actions += rollout.tidy(name, (), seen) + warm.keep(name, None, None, seen, now)
    actions += [_move(name, each, "removed", desired.why) for each in on_their_way]
    if app is not None and app.status == "deleting":
        return actions
    if app is not None and app.version is not None:
        return [*actions, DeleteApp(deployment=name, reason=desired.why)]
    live = [release for release in seen.releases if release.state == "live"]
    return actions + [_move(name, release, "removed", desired.why) for release in live]
