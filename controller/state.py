"""The values that `plan` works on: what is wanted, what is seen, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from controller.gate_jobs import AskedGate
from controller.gates import Passed, Verdict, Waiting
from envelope.config import Rollout
from envelope.registry import Made
from ray_runtime.traffic import Split, Traffic

EVERY_GATE_PASSED = Passed(reason="every gate passed")
NEVER = datetime.min.replace(tzinfo=UTC)

AppStatus = Literal["starting", "running", "failed", "unhealthy", "deleting"]
Slot = Literal["main", "challenger", "previous"]
REPLACE = Rollout()
NOT_SPLIT = Traffic()

# --- what is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The envelope that a deployment should serve, under which config, and why."""

    envelope_id: str
    config_version: int
    rule: str | None
    rule_version: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What one deployment should be.

    wanted: None keeps what is live. why: why this is wanted, or why nothing new is.
    """

    name: str
    is_removed: bool
    wanted: Wanted | None
    why: str


# --- what is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Who wanted a release undone, and why."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that has not ended, and what Serve would be asked for to carry it out.

    version: of the application, None when `fault` says why there can be none.
    asked_at: when this process last asked Serve for it, or first saw that another one had.
    rollback: its envelope was rolled back on the deployment, and may not come back.
    step: of its rollout, from 0; None before the first. step_since: when that began.
    keep_warm_s: how long what it replaces goes on running.
    """

    id: str
    envelope_id: str
    config_version: int
    state: str
    reason: str
    start_timeout_s: float
    version: str | None = None
    fault: str | None = None
    verdict: Verdict = EVERY_GATE_PASSED
    live_at: datetime = NEVER
    asked_at: datetime | None = None
    rollback: Rollback | None = None
    rollout: Rollout = REPLACE
    step: int | None = None
    step_since: datetime | None = None
    keep_warm_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Serve's word on one application.

    version, envelope_id: of the target; None for one that is not ours. target_replicas: how many
    should run now; none where load decides and nobody asks. may_answer: whether a replica may.
    """

    status: AppStatus
    version: str | None
    message: str = ""
    envelope_id: str | None = None
    target_replicas: int = 1
    may_answer: bool = True

    @property
    def is_waking(self) -> bool:
        """Whether queries wait for the first replica."""
        return self.status == "running" and self.target_replicas > 0 and not self.may_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is known of one deployment.

    releases: those that have not ended, newest first. answering: the envelope that answers at its
    URL. revive_after: when a live release that has failed may be started anew; None at once.
    waking_since: when queries were first seen to wait for its first replica; None if none do.
    challenger: the application beside it, that is tried out; previous: the one that is kept warm.
    traffic: how queries are split.
    """

    releases: Sequence[Release] = ()
    app: App | None = None
    answering: str | None = None
    revive_after: datetime | None = None
    waking_since: datetime | None = None
    challenger: App | None = None
    previous: App | None = None
    traffic: Traffic = NOT_SPLIT


# --- what to do


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDeployment:
    """Give a name to a template's tags; create the deployment that is missing."""

    deployment: str
    made_of: Made
    instead_of: Made | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRelease:
    """Record that a deployment should change to this envelope."""

    deployment: str
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class AskGate:
    """Ask for a gate that runs on the cluster. Asked twice, it runs once."""

    deployment: str
    envelope_id: str
    asked: AskedGate


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRelease:
    """Record a transition. app_version: of what failed; another one is tried anew.

    actor: whose wish it is; None is the controller's own. step: of its rollout that begins.
    """

    deployment: str
    release_id: str
    from_state: str
    to_state: str
    reason: str
    app_version: str | None = None
    actor: str | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Keep an envelope off a deployment, as a rollback by hand does; its release ends by that."""

    deployment: str
    envelope_id: str
    back_to: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Make a release the target of its deployment's application, or of the one beside it.

    has_answered: it did before; where load decides, its replicas may wait for the first query.
    """

    deployment: str
    release_id: str
    slot: Slot = "main"
    has_answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteApp:
    """Delete an application; Serve lets it answer what it has begun."""

    deployment: str
    reason: str
    slot: Slot = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSplit:
    """Split a deployment's queries so from now on; None: not at all."""

    deployment: str
    split: Split | None


Action = (
    MakeDeployment
    | CreateRelease
    | AskGate
    | MoveRelease
    | RollBack
    | Deploy
    | DeleteApp
    | SetSplit
)
EXPERIMENT = "experiment"
TRIED = ("shadow", "canary", EXPERIMENT)  # beside the live one
ON_THEIR_WAY = ("candidate", "gated", *TRIED, "starting")


def live_of(releases: Sequence[Release]) -> Release | None:
    """The release that serves: of several the one that became live last."""
    live = [release for release in releases if release.state == "live"]
    return max(live, key=lambda release: (release.live_at, release.id), default=None)


def is_waiting(desired: Desired, seen: Observed) -> bool:
    """Whether something is under way that only looking again will show."""
    app, live = seen.app, live_of(seen.releases)
    if desired.is_removed:
        return bool(seen.releases)
    if not _is_settled(seen):
        return True
    if seen.previous is not None and seen.previous.status in ("starting", "deleting"):
        return True
    if live is None:
        return app is not None and app.version is not None
    if live.version is None:
        return False
    if app is None or app.version != live.version or app.is_waking:
        return True
    return app.status in ("starting", "deleting")


def _is_run(release: Release) -> bool:
    """Whether a gate runs, whose end the registry's feed will tell."""
    return release.state == "candidate" and isinstance(release.verdict, Waiting)


def _is_settled(seen: Observed) -> bool:
    """Whether nothing is on its way, or only an experiment, which takes weeks, as it should."""
    on_their_way = [
        release
        for release in seen.releases
        if release.state in ON_THEIR_WAY and not _is_run(release)
    ]
    app, split = seen.challenger, seen.traffic.split
    if not on_their_way:
        return app is None and split is None
    has_begun = all(each.state == EXPERIMENT and each.step is not None for each in on_their_way)
    return has_begun and app is not None and app.status == "running" and split is not None
