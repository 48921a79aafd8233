"""Waiting longer each time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Growing delays."""

    first_s: float
    longest_s: float
    count: int = 0

    def next_s(self) -> float:
        """The next delay, in seconds."""
        delay_s = min(self.first_s * 2.0 ** min(self.count, 30), self.longest_s)
        self.count += 1
        return delay_s


class Postponed:
    """What must not be done again before a time, which is later each time."""

    def __init__(self, backoff: Backoff) -> None:
        self.until: dict[str, datetime] = {}
        self._model = backoff
        self._backoffs: dict[str, Backoff] = {}

    def is_early(self, key: str, now: datetime) -> bool:
        """Whether it is too early."""
        return key in self.until and now < self.until[key]

    def postpone(self, key: str, now: datetime) -> float:
        """Return how long it has to wait, in seconds from `now`."""
        delay_s = self._backoffs.setdefault(key, replace(self._model)).next_s()
        self.until[key] = now + timedelta(seconds=delay_s)
        return delay_s

    def forget(self, key: str) -> None:
        """It went well."""
        self.until.pop(key, None)
        self._backoffs.pop(key, None)
