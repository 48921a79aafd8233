"""What processes do in the registry's tests of concurrency.

Not in the tests' own modules: a process imports the module of its function, and sixteen imports of
pytest take longer than the test.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier, Event

from envelope.registry import open_registry, upgrade
from tests.manifests import a_manifest

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["pytest", "sqlalchemy.dialects.sqlite", "alembic.command", __name__]
)


def register_many(url: str, worker: int, count: int, start: Event) -> None:
    """Register `count` envelopes, tagged with who did it, once all may start."""
    registry = open_registry(url)
    start.wait()
    for n in range(count):
        manifest = a_manifest(tags={"worker": str(worker), "n": str(n)})
        registry.register(manifest, "c" * 64, actor=f"worker {worker}")
    registry.close()


def open_and_register(url: str, barrier: Barrier) -> None:
    """Open a registry at the same moment as others, and use it."""
    barrier.wait()
    registry = open_registry(url)
    registry.register(a_manifest(), "c" * 64, actor="ann")
    registry.close()


def upgrade_together(url: str, barrier: Barrier) -> None:
    """Upgrade a registry at the same moment as others."""
    barrier.wait()
    upgrade(url)
