"""A release that first gets a share of the queries: pure decisions, one step at a time.

The candidate runs as the deployment's challenger, an application without a URL. The replicas at
the URL send it its share (canary) or copies of it (shadow). After the last step it takes the place
of the live one by surge, as any. In an experiment it has its share of the callers until somebody
ends that; of itself an experiment ends only when the candidate fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from controller.judging import describe_step, judge_errors, judge_step
from controller.state import (
    EXPERIMENT,
    TRIED,
    Action,
    DeleteApp,
    Deploy,
    MoveRelease,
    Observed,
    Release,
    RollBack,
)
from envelope.config import Rollout
from ray_runtime.assignment import Sticky
from ray_runtime.traffic import Split, Tally


def is_gradual(release: Release, live: Release | None) -> bool:
    """Whether a release begins beside the live one. What goes back is not tried out first."""
    if release.rollout.strategy == "replace" or live is None or live.version is None:
        return False
    return live.envelope_id != release.envelope_id and live.rollback is None


def begin(name: str, current: Release, live: Release, seen: Observed) -> list[Action]:
    """Begin a rollout, once what an earlier one left is gone."""
    if seen.challenger is not None:
        return []
    strategy = current.rollout.strategy
    reason = f"{strategy}: starting {current.envelope_id} beside {live.envelope_id}"
    return [_move(name, current, strategy, reason)]


def advance(
    name: str, current: Release, live: Release | None, seen: Observed, now: datetime
) -> list[Action]:
    """Return the next step of a release that is tried out."""
    if live is None:
        return [_move(name, current, "starting", "nothing is live beside it")]
    app = seen.challenger
    if app is None or app.version != current.version:
        is_going = app is not None and app.status == "deleting"
        challenger = Deploy(deployment=name, release_id=current.id, slot="challenger")
        return [] if is_going else [challenger]
    if app.status == "failed":
        reason = app.message or "Serve gives no reason; see the replica's log"
        return [_move(name, current, "failed", reason, app_version=current.version)]
    if current.step is None:
        return _first_step(name, current, seen, now)
    if current.state == EXPERIMENT:
        return _watch(name, current, live, seen)
    return _judge(name, current, live, seen, now)


def _first_step(name: str, current: Release, seen: Observed, now: datetime) -> list[Action]:
    app = seen.challenger
    assert app is not None
    if app.status == "running":
        return [_move(name, current, current.state, _begins(current, 0), step=0)]
    waited_s = 0.0 if current.asked_at is None else (now - current.asked_at).total_seconds()
    if waited_s < current.start_timeout_s:
        return []
    reason = (
        f"not running {waited_s:.0f} s after it was started beside the live one, start_timeout_s "
        f"is {current.start_timeout_s:g}; Serve says {app.status}: {app.message}"
    ).rstrip(": ")
    return [_move(name, current, "failed", reason, app_version=current.version)]


def _judge(
    name: str, current: Release, live: Release, seen: Observed, now: datetime
) -> list[Action]:
    step = current.step
    assert step is not None
    assert current.step_since is not None
    elapsed_s = (now - current.step_since).total_seconds()
    found = judge_step(current.rollout, step, _tally(current, seen), elapsed_s)
    what = f"{current.rollout.strategy}: {describe_step(current.rollout, step)}"
    if found.state == "failed":
        return [_roll_back(name, current, live, found.reason)]
    if seen.challenger is None or seen.challenger.status != "running":
        return []  # it gets nothing now, and comes back or not
    if found.state == "inconclusive":
        reason = f"{what} is over, and holds: {found.reason}"
        return [] if current.reason == reason else [_move(name, current, current.state, reason)]
    if found.state == "going":
        return []
    passed = f"{what}: {found.reason}"
    if step + 1 < len(current.rollout.steps):
        reason = f"{_begins(current, step + 1)}; before, {passed}"
        return [_move(name, current, current.state, reason, step=step + 1)]
    return [_move(name, current, "starting", f"starting {current.envelope_id}; {passed}")]


def _watch(name: str, current: Release, live: Release, seen: Observed) -> list[Action]:
    """Leave an experiment alone for as long as the candidate does not fail."""
    fault = judge_errors(current.rollout, _tally(current, seen))
    return [] if fault is None else [_roll_back(name, current, live, fault)]


def _tally(current: Release, seen: Observed) -> Tally:
    """What came of this step. Until the split has its key, what was counted is another's."""
    split = seen.traffic.split
    return seen.traffic.tally if split is not None and split.key == _key(current) else Tally()


def _roll_back(name: str, current: Release, live: Release, fault: str) -> RollBack:
    assert current.step is not None
    what = describe_step(current.rollout, current.step)
    return RollBack(
        deployment=name,
        envelope_id=current.envelope_id,
        back_to=live.envelope_id,
        reason=f"{current.rollout.strategy}: {what}: {fault}",
    )


def _begins(current: Release, step: int) -> str:
    return f"{current.rollout.strategy}: {describe_step(current.rollout, step)}, begins"


# --- what follows from where the releases are


def split(name: str, releases: Sequence[Release], seen: Observed) -> Split | None:
    """How queries are split for the release that is tried out."""
    mine = next((each for each in releases if _has_challenger(each, seen)), None)
    return None if mine is None else _split(name, mine, seen)


def tidy(name: str, releases: Sequence[Release], seen: Observed) -> list[Action]:
    """Remove a challenger that no release wants."""
    app = seen.challenger
    is_wanted = any(_has_challenger(each, seen) for each in releases)
    if app is None or is_wanted or app.status == "deleting":
        return []
    if any(each.state in TRIED for each in releases):
        return []  # it is given another target
    return [DeleteApp(deployment=name, slot="challenger", reason="no release is tried out")]


def _has_challenger(release: Release, seen: Observed) -> bool:
    """Whether a release answers as the challenger: until it answers at the URL itself."""
    app = seen.challenger
    is_tried = release.state in TRIED or (release.state == "starting" and release.step is not None)
    return is_tried and app is not None and app.version == release.version


def _split(name: str, release: Release, seen: Observed) -> Split | None:
    assert seen.challenger is not None
    if release.step is None or seen.challenger.status != "running" or release.rollback is not None:
        return None
    rollout = release.rollout
    is_shadow = rollout.strategy == "shadow"
    if is_shadow and release.state == "starting":
        return None  # enough was compared
    return Split(
        key=_key(release),
        application=f"{name}--challenger",
        percent=rollout.share or rollout.steps[release.step].share,
        mode="copy" if is_shadow else "send",
        sticky=_sticky(rollout),
    )


def _sticky(rollout: Rollout) -> Sticky | None:
    found = rollout.sticky
    return None if found is None else Sticky(header=found.header, field=found.field)


def _key(release: Release) -> str:
    return f"{release.id}/{release.step}"


def _move(
    name: str,
    release: Release,
    to_state: str,
    reason: str,
    *,
    step: int | None = None,
    app_version: str | None = None,
) -> MoveRelease:
    return MoveRelease(
        deployment=name,
        release_id=release.id,
        from_state=release.state,
        to_state=to_state,
        reason=reason,
        step=step,
        app_version=app_version,
    )
