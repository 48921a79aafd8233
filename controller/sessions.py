"""Sessions of the pages, in this process: after a restart one signs in again."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "envelope_session"
SESSION_S = 12 * 3600.0  # a working day
MAX_FAILURES = 10  # of one address, within
FAILURES_S = 300.0
MAX_KEPT = 10_000  # addresses that failed, and sessions: neither may fill the memory

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Session:
    secret: str
    ends_at: float


class Sessions:
    """Who has signed in. The token is looked up anew at each request: revoking ends it."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, _Session] = {}

    def start(self, secret: str) -> str:
        """Return the cookie of a new session for a token's secret."""
        cookie = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            for ended in [key for key, one in self._open.items() if one.ends_at <= now]:
                del self._open[ended]
            while len(self._open) >= MAX_KEPT:
                del self._open[next(iter(self._open))]  # the oldest
            self._open[cookie] = _Session(secret, now + SESSION_S)
        return cookie

    def secret_of(self, cookie: str) -> str | None:
        """The secret of the token that a session was opened with; None when there is none."""
        with self._lock:
            found = self._open.get(cookie)
        return found.secret if found is not None and found.ends_at > self._clock() else None

    def end(self, cookie: str) -> None:
        """Forget a session."""
        with self._lock:
            self._open.pop(cookie, None)


class LoginLimit:
    """How often one address may fail to sign in: MAX_FAILURES times in FAILURES_S."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, list[float]] = {}

    def wait_s(self, address: str) -> float:
        """For how many seconds this address has to wait; 0 when it may try."""
        with self._lock:
            recent = self._recent(address)
        if len(recent) < MAX_FAILURES:
            return 0.0
        return recent[-MAX_FAILURES] + FAILURES_S - self._clock()

    def failed(self, address: str) -> None:
        """Count a failure."""
        with self._lock:
            recent = self._recent(address)
            self._failures.pop(address, None)  # to the end: those that failed last are kept
            while len(self._failures) >= MAX_KEPT:
                del self._failures[next(iter(self._failures))]
            self._failures[address] = [*recent, self._clock()]

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - FAILURES_S
        return [at for at in self._failures.get(address, ()) if at > since]
