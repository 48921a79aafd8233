"""What a candidate must pass before it is started: pure functions of two manifests.

Whether the sample replays is judged by the replica itself before it counts as ready, since it takes
the model and its environment to find out; a start that fails there fails the release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envelope.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """It cannot be judged yet; it is judged again at every turn."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """It must not be started."""

    reason: str


Verdict = Passed | Held | Rejected
Gate = Callable[[Manifest, Manifest | None], Verdict]

DEFAULT_GATES: tuple[Gate, ...] = ()


def judge(gates: Sequence[Gate], candidate: Manifest, live: Manifest | None) -> Verdict:
    """Return the first rejection, else the first gate that cannot be judged, else Passed.

    live: the envelope that the candidate would replace; None when nothing is live.
    """
    verdicts = [gate(candidate, live) for gate in gates]
    for kind in (Rejected, Held):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return Passed()
