"""Leading: one controller at a time, by a lease in the registry that a thread renews.

The thread lives as long as the process, so that a turn which takes long is no reason for another
to take over; one that hangs is ended by the watchdog. Whoever was deposed all the same, because
its machine stood still or its registry was out of reach, is kept from writing by the lease's
epoch: by the registry in the same transaction, and by the one writer to Serve.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from envelope.errors import StorageError
from envelope.registry import Registry

LEASE_S = 6.0  # with STANDBY_S and the first turn less than the 10 s that a takeover may take
RENEWALS = 3  # in that time; two may fail, or take long
STANDBY_S = 1.0  # how often a standby looks whether the lease is free

log = logging.getLogger(__name__)


class Tenure:
    """This process' claim to lead. Safe to use from the loop and from the thread that renews it.

    holder: see `envelope.registry.Lease`.
    """

    def __init__(
        self, registry: Registry, *, holder: str, host: str, pid: int, ttl_s: float = LEASE_S
    ) -> None:
        self._registry = registry
        self._holder, self._host, self._pid = holder, host, pid
        self._ttl_s = ttl_s
        self._lock = Lock()
        self._epoch: int | None = None
        self._leader: str | None = None

    def leads(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return self._epoch is not None

    def take(self) -> int | None:
        """The epoch by which this process leads; None while another does. Takes a free lease.

        Raises StorageError when the registry cannot be reached.
        """
        with self._lock:
            if self._epoch is None and self._may_claim():
                found = self._registry.claim_lease(
                    self._holder, host=self._host, pid=self._pid, ttl_s=self._ttl_s
                )
                if found.holder == self._holder:
                    self._epoch = found.epoch
                    log.info("leads", extra={"epoch": found.epoch})
            return self._epoch

    def renew(self) -> None:
        """Hold the lease longer, if it is held. Raises StorageError."""
        with self._lock:
            if self._epoch is None or self._registry.renew_lease(self._epoch, ttl_s=self._ttl_s):
                return
            log.warning("does not lead any more", extra={"epoch": self._epoch})
            self._epoch = None

    def resign(self) -> None:
        """Let another lead at once; out of reach of the registry, once the lease has run out."""
        with self._lock:
            epoch, self._epoch = self._epoch, None
            if epoch is not None:
                with suppress(StorageError):
                    self._registry.resign_lease(epoch)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease until the end of the block, whenever it is held; then resign."""
        ended = Event()
        thread = Thread(target=self._keep, args=(ended,), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.resign()

    def _keep(self, ended: Event) -> None:
        while not ended.wait(self._ttl_s / RENEWALS):
            try:
                self.renew()
            except StorageError as exc:
                log.warning("lease cannot be renewed", extra={"reason": str(exc)})

    def _may_claim(self) -> bool:
        """Looking takes no lock; claiming does."""
        found = self._registry.lease()
        if found is None or not found.is_held or found.holder == self._holder:
            return True
        if found.holder != self._leader:
            self._leader = found.holder
            facts = {"epoch": found.epoch, "leader_host": found.host, "leader_pid": found.pid}
            log.info("another leads, standing by", extra=facts)
        return False
