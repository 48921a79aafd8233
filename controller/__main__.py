"""The controller's process: `python -m controller`. It runs until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ulid import ULID

from controller.gate_runner import GateRunner
from controller.lease import Tenure
from controller.loop import Controller, Lead, run
from controller.notify import start_notifiers, webhooks_of
from controller.releases import Releases
from controller.server import serving
from controller.supervisor import HOLDER
from controller.watchdog import Watchdog
from envelope.connection import Connection, connect
from envelope.errors import EnvelopeError
from envelope.registry import EnvelopeRow
from envelope.settings import Settings
from envelope.store import Store
from ray_runtime import connection as cluster
from ray_runtime.jobs import RayJobs

log = logging.getLogger("controller")


def main(settings: Settings | None = None, *, has_pages: bool = True) -> int:
    """Run the controller of ENVELOPE_HOME, or of RAY_ADDRESS, until it is told to end.

    settings: default those of this process. Returns the exit status.
    """
    logging.basicConfig(handlers=[_handler()], level=logging.WARNING)
    log.setLevel(logging.INFO)
    stop = threading.Event()
    _listen(stop)
    host, pid = socket.gethostname(), os.getpid()
    controller_id = f"{host}-{pid}"
    try:
        connection = connect(settings or Settings.read())
        log.info("controller started", extra={"controller": controller_id})
        settings = connection.settings
        tenure = Tenure(
            connection.registry,
            holder=os.environ.get(HOLDER) or str(ULID()),
            host=host,
            pid=pid,
        )
        webhooks = list(webhooks_of(settings.webhooks, settings.notify_on))
        start_notifiers(
            connection.registry, webhooks, settings.home / "run", stop, leads=tenure.leads
        )
        GateRunner(
            connection.registry,
            RayJobs(settings),
            store_url=settings.store_url,
            environment_of=partial(_environment_of, connection.store),
            clock=lambda: datetime.now(UTC),
            leads=tenure.leads,
        ).start(stop)
        with serving(connection) if has_pages else nullcontext():
            run(
                connection.registry,
                join=partial(_join, connection, stop),
                tenure=tenure,
                controller_id=controller_id,
                stop=stop,
                watchdog=Watchdog(),
            )
    except EnvelopeError:
        log.exception("controller ends")
        return 1
    log.info("controller ended, as asked")
    return 0


def _listen(stop: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _join(connection: Connection, stop: threading.Event) -> Lead:
    """Join the cluster, and leave what this process knew of another one behind."""
    cluster.disconnect()
    cluster.connect(connection.settings)
    cluster.ensure_serve(connection.settings)
    # Serve reads its flags when it is imported; they are set by now.
    import controller.serve  # noqa: F401 - a standby has it ready

    _listen(stop)  # Ray has put its own handlers there
    log.info("joined the cluster")
    return partial(_lead, connection)


def _lead(connection: Connection, epoch: int) -> Controller:
    """Begin to lead, by registry and writer that refuse everything once another does."""
    from controller.serve import Preparer, RayServe

    registry = connection.registry.led_by(epoch)
    preparer = Preparer(connection.settings, connection.store)
    return Controller(
        registry=registry,
        serve=RayServe(connection.settings, epoch),
        releases=Releases(registry, prepare=preparer.prepare, read_function=preparer.read_function),
        clock=lambda: datetime.now(UTC),
    )


def _environment_of(store: Store, envelope: EnvelopeRow) -> Mapping[str, Any]:
    """The runtime_env in which a candidate is judged: its replicas' own."""
    from ray_runtime.environments import runtime_env_for  # imports Ray, which a standby has ready

    return runtime_env_for(store, store.get_manifest(envelope.id, envelope.manifest_sha256))


class _Facts(logging.Formatter):
    """One line: time, level, constant text, then the facts as key=value."""

    _own = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        facts = (
            f"{key}={value!r}"
            for key, value in record.__dict__.items()
            if key not in self._own and not key.startswith("_")  # Ray adds some of its own
        )
        return " ".join([line, *facts])


def _handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Facts("%(asctime)s %(levelname)s %(message)s"))
    return handler


if __name__ == "__main__":
    sys.exit(main())
