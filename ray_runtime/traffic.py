"""The values of split traffic: who gets which share, and what came of it. Nothing of Ray.

They travel between processes of different environments as pickles; all have this same package.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ray_runtime.assignment import Sticky

Side: TypeAlias = Literal["candidate", "live", "outside"]
SIDES: tuple[Side, ...] = ("candidate", "live", "outside")

# Upper ends of the classes of times, 0.1 ms to 75 s: a quantile is right to a factor of 1.25.
# Registries keep counts by these classes: there may be more of them, but no others.
BOUNDS_MS = tuple(0.1 * 1.25**i for i in range(61))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What becomes of a deployment's queries.

    key: what is counted apart. application: the Serve application that the share goes to.
    percent: of the queries, the same in every replica. mode: send: that share is answered there;
    copy: it is answered here, and there too, for comparison.
    sticky: of an experiment: the share is one of callers, and this tells them apart.
    """

    key: str
    application: str
    percent: float
    mode: Literal["send", "copy"] = "send"
    sticky: Sticky | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one side answered. failed: with a status of 500 or more, or not at all.

    times: how many took up to each of BOUNDS_MS, and longer; of those that were answered.
    """

    count: int = 0
    failed: int = 0
    times: tuple[int, ...] = (0,) * (len(BOUNDS_MS) + 1)

    def __add__(self, other: Answers) -> Answers:
        return Answers(
            count=self.count + other.count,
            failed=self.failed + other.failed,
            times=tuple(map(sum, zip(self.times, other.times, strict=True))),
        )

    def quantile_ms(self, share: float) -> float | None:
        """The time within which this share was answered; None when nothing was."""
        timed = sum(self.times)
        if not timed:
            return None
        left = math.ceil(share * timed)
        for bound_ms, count in zip((*BOUNDS_MS, math.inf), self.times, strict=True):
            left -= count
            if left <= 0:
                return bound_ms
        raise AssertionError("the classes hold all that was timed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of the queries of one split.

    different: copies that were answered otherwise than by live. dropped: copies not sent, because
    the candidate was busy.
    outside: what live answered outside of an experiment: queries without a key, and those of the
    candidate's callers that it could not answer.
    """

    candidate: Answers = Answers()
    live: Answers = Answers()
    outside: Answers = Answers()
    different: int = 0
    dropped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            candidate=self.candidate + other.candidate,
            live=self.live + other.live,
            outside=self.outside + other.outside,
            different=self.different + other.different,
            dropped=self.dropped + other.dropped,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How one deployment's queries are split now, and what came of it since they are.

    counting: another one each time that the tally has begun at zero.
    """

    split: Split | None = None
    tally: Tally = Tally()
    counting: str = ""


def total(tallies: Iterable[Tally]) -> Tally:
    """Add up what several replicas have counted."""
    return sum(tallies, Tally())


class Quota:
    """Picks a share of queries, evenly: of 100 at 5 % every 20th."""

    def __init__(self, percent: float) -> None:
        self._percent = percent
        self._due = 0.0

    def take(self) -> bool:
        """Whether the next one is picked."""
        self._due += self._percent
        if self._due < 100 - 1e-6:
            return False
        self._due -= 100
        return True


@dataclass(slots=True)
class _Side:
    count: int = 0
    failed: int = 0
    times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))


class Counter:
    """Counts the answers of both sides in one replica. different, dropped: as in Tally."""

    def __init__(self) -> None:
        self.different = 0
        self.dropped = 0
        self._sides: dict[Side, _Side] = {side: _Side() for side in SIDES}

    def answered(self, side: Side, status: int, took_ms: float) -> None:
        """Count an answer."""
        mine = self._sides[side]
        mine.count += 1
        mine.failed += status >= 500
        mine.times[bisect_left(BOUNDS_MS, took_ms)] += 1

    def unanswered(self, side: Side) -> None:
        """Count a query that a side got and did not answer."""
        self._sides[side].count += 1
        self._sides[side].failed += 1

    def tally(self) -> Tally:
        """What was counted so far."""
        found = {
            name: Answers(count=side.count, failed=side.failed, times=tuple(side.times))
            for name, side in self._sides.items()
        }
        return Tally(
            candidate=found["candidate"],
            live=found["live"],
            outside=found["outside"],
            different=self.different,
            dropped=self.dropped,
        )
