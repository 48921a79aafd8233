"""Whether a step of a rollout may end: a pure judgement of what the candidate has answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envelope.config import Rollout, RolloutStep
from ray_runtime.traffic import Answers, Tally

SLOWER_MS = 5.0  # beyond its factor: below that, a busy node decides
P95 = 0.95

State = Literal["going", "passed", "failed", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is said of a step now.

    going: it has not ended. inconclusive: it should have, and too little was seen.
    """

    state: State
    reason: str


def judge_step(rollout: Rollout, index: int, tally: Tally, elapsed_s: float) -> Judgement:
    """Judge a step by the answers since it began. A fault is seen as soon as it is certain.

    Errors: with fewer answers than are needed, those still to come may all be right.
    """
    candidate = tally.candidate
    if (errors := judge_errors(rollout, tally)) is not None:
        return Judgement(state="failed", reason=errors)
    is_enough = candidate.count >= rollout.min_requests
    fault = (_slowness(rollout, tally) or _difference(rollout, tally)) if is_enough else None
    if fault is not None:
        return Judgement(state="failed", reason=fault)
    if not _has_ended(rollout.steps[index], candidate, elapsed_s):
        return Judgement(state="going", reason="")
    if not is_enough:
        reason = f"it got fewer than {rollout.min_requests} queries (min_requests)"
        return Judgement(state="inconclusive", reason=reason)
    return Judgement(state="passed", reason=describe_tally(tally, rollout))


def judge_errors(rollout: Rollout, tally: Tally) -> str | None:
    """Say that the candidate fails too often; None when it does not, or may not after all."""
    candidate = tally.candidate
    allowed = rollout.max_error_percent / 100 * max(candidate.count, rollout.min_requests)
    if candidate.failed <= allowed:
        return None
    return (
        f"{candidate.failed} of {candidate.count} queries failed, max_error_percent is "
        f"{rollout.max_error_percent:g}"
    )


def _has_ended(step: RolloutStep, candidate: Answers, elapsed_s: float) -> bool:
    if step.minutes is not None:
        return elapsed_s >= step.minutes * 60
    assert step.requests is not None  # one of the two, checked where it came in
    return candidate.count >= step.requests


def _slowness(rollout: Rollout, tally: Tally) -> str | None:
    """Say that the candidate is slower than it may be. Not judged next to too few of live's."""
    if tally.live.count < rollout.min_requests:
        return None
    mine_ms, others_ms = tally.candidate.quantile_ms(P95), tally.live.quantile_ms(P95)
    if mine_ms is None or others_ms is None:
        return None
    if mine_ms <= rollout.max_slowdown * others_ms + SLOWER_MS:
        return None
    return (
        f"its p95 is {mine_ms:.3g} ms, that of live {others_ms:.3g} ms, max_slowdown is "
        f"{rollout.max_slowdown:g}"
    )


def _difference(rollout: Rollout, tally: Tally) -> str | None:
    """Say that the candidate answers too many copies otherwise."""
    limit, answered = rollout.max_different_percent, tally.candidate.count - tally.candidate.failed
    if limit is None or tally.different <= limit / 100 * answered:
        return None
    return (
        f"{tally.different} of {answered} copies were answered otherwise, max_different_percent is "
        f"{limit:g}"
    )


def describe_tally(tally: Tally, rollout: Rollout) -> str:
    """Say in a few words what came of the queries."""
    candidate = tally.candidate
    found = f"{candidate.count} queries, {candidate.failed} failed"
    if rollout.strategy == "shadow":
        found += f", {tally.different} answered otherwise, {tally.dropped} copies dropped"
    mine_ms, others_ms = candidate.quantile_ms(P95), tally.live.quantile_ms(P95)
    if mine_ms is not None:
        found += f", p95 {mine_ms:.3g} ms"
    return found if others_ms is None else f"{found} (live {others_ms:.3g} ms)"


def describe_step(rollout: Rollout, index: int) -> str:
    """Say which step this is; an experiment has but one."""
    if rollout.sticky is not None:
        sticky = rollout.sticky
        by = f"header {sticky.header}" if sticky.header else f"field {sticky.field}"
        return f"{rollout.share:g} % by {by}"
    step = rollout.steps[index]
    length = f"{step.minutes:g} min" if step.minutes is not None else f"{step.requests} queries"
    return f"step {index + 1} of {len(rollout.steps)}, {step.share:g} % for {length}"
