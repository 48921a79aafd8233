"""An experiment as people ask about it: who its arms are, and what they answered."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from controller.judging import describe_step
from controller.state import EXPERIMENT
from controller.view import HISTORY
from envelope.config import Rollout
from envelope.errors import ConfigError
from envelope.registry import ArmCounts, Registry, ReleaseRow
from ray_runtime.traffic import Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm, over all of the experiment. p50_ms, p99_ms: right to a factor of 1.25; None when
    nothing was answered.

    arm: champion, challenger, or outside: what the champion answered and neither can claim.
    """

    arm: str
    envelope_id: str | None
    requests: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None

    @property
    def p50(self) -> str:
        return _in_words(self.p50_ms)

    @property
    def p99(self) -> str:
        return _in_words(self.p99_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """release: of the challenger. what: how callers are split."""

    release: ReleaseRow
    what: str
    arms: tuple[Arm, ...]

    @property
    def has_ended(self) -> bool:
        return self.release.state != EXPERIMENT


def read_experiment(registry: Registry, deployment: str) -> Experiment:
    """Read the last experiment of a deployment. Raises ConfigError when there was none."""
    found = last_experiment(registry, deployment, registry.releases(deployment, limit=HISTORY))
    if found is None:
        raise ConfigError(
            f"there was no experiment on {deployment}; `rollout: {{strategy: experiment, share: "
            "50, sticky: {header: X-User-Id}}` makes one of the next envelope that matches"
        )
    return found


def last_experiment(
    registry: Registry, deployment: str, releases: Iterable[ReleaseRow]
) -> Experiment | None:
    """The newest experiment among a deployment's releases, newest first; None if there is none."""
    rollouts: dict[int, Rollout] = {}
    for row in releases:
        if row.state != EXPERIMENT and row.step is None:
            continue
        version = row.config_version
        if version not in rollouts:
            rollouts[version] = registry.deployment_config(deployment, version).rollout
        if rollouts[version].strategy == EXPERIMENT:
            return _experiment(registry, row, describe_step(rollouts[version], 0))
    return None


def _experiment(registry: Registry, row: ReleaseRow, what: str) -> Experiment:
    counts = {each.arm: each for each in registry.arms(row.id)}
    live = registry.live_at(row.deployment, row.step_since or row.updated_at)
    champion = live[0].envelope_id if live else None
    return Experiment(
        release=row,
        what=what,
        arms=(
            _arm("champion", champion, counts.get("champion")),
            _arm("challenger", row.envelope_id, counts.get("challenger")),
            _arm("outside", champion, counts.get("outside")),
        ),
    )


def _arm(arm: str, envelope_id: str | None, counts: ArmCounts | None) -> Arm:
    if counts is None:
        answers = Answers()
    else:
        answers = Answers(count=counts.requests, failed=counts.failed, times=counts.times)
    return Arm(
        arm=arm,
        envelope_id=envelope_id,
        requests=answers.count,
        failed=answers.failed,
        p50_ms=answers.quantile_ms(0.5),
        p99_ms=answers.quantile_ms(0.99),
    )


def _in_words(value_ms: float | None) -> str:
    if value_ms is None:
        return "-"
    if not math.isfinite(value_ms):
        return "over 75 s"
    return f"{value_ms:.3g} ms" if value_ms < 1000 else f"{value_ms / 1000:.3g} s"
