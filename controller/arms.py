"""Keeping what the arms of experiments have answered in the registry.

The shares lose their counts when they die. What is kept is what one counting has come to, so it may
be written again and again, by whichever controller leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from controller.state import Action, Observed, SetSplit
from envelope.registry import ArmCounts, Registry
from ray_runtime.traffic import Answers, Tally

RECORD_S = 10.0  # of counts that are lost at most, when the shares die


class Recorder:
    """Writes down what was counted. What it remembers only saves writes."""

    def __init__(self, registry: Registry, monotonic: Callable[[], float]) -> None:
        self._registry = registry
        self._monotonic = monotonic
        self._written: dict[str, tuple[float, Tally]] = {}  # by the counting

    def record(self, observed: Mapping[str, Observed], actions: Sequence[Action]) -> None:
        """Write down what is due, and, before these actions, what ends by them.

        Raises StorageError.
        """
        ending = {action.deployment for action in actions if isinstance(action, SetSplit)}
        now, countings = self._monotonic(), set()
        for name, seen in observed.items():
            release_id, traffic = _challenger(seen), seen.traffic
            if release_id is None:
                continue
            countings.add(traffic.counting)
            at, tally = self._written.get(traffic.counting, (now - RECORD_S, Tally()))
            is_due = now - at >= RECORD_S or name in ending
            if is_due and tally != traffic.tally:
                self._registry.record_arms(release_id, traffic.counting, counts_of(traffic.tally))
                self._written[traffic.counting] = (now, traffic.tally)
        self._written = {key: each for key, each in self._written.items() if key in countings}


def _challenger(seen: Observed) -> str | None:
    """The open release that callers are sent to; None when there is no experiment."""
    split = seen.traffic.split
    if split is None or split.sticky is None:
        return None
    release_id = split.key.partition("/")[0]
    return release_id if any(each.id == release_id for each in seen.releases) else None


def counts_of(tally: Tally) -> list[ArmCounts]:
    """The counts of one experiment, as they are kept."""
    return [
        _counts("champion", tally.live),
        _counts("challenger", tally.candidate),
        _counts("outside", tally.outside),
    ]


def _counts(arm: Literal["champion", "challenger", "outside"], found: Answers) -> ArmCounts:
    return ArmCounts(arm=arm, requests=found.count, failed=found.failed, times=found.times)
