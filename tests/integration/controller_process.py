"""A controller's process without a cluster: `python -m tests.integration.controller_process`.

All of it is real, and kept alive by nobody, but Serve, which is a file: what runs, who asked for
it by which epoch, and the highest epoch, as the actor keeps it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.apply import Prepared
from controller.lease import Tenure
from controller.loop import Controller, run
from controller.releases import Releases, Request
from controller.state import App
from controller.watchdog import Watchdog
from envelope.errors import Deposed
from envelope.manifest import Function, RowWise, Sample
from envelope.registry import open_registry
from envelope.schema import types as t
from ray_runtime.traffic import Split, Traffic

START_S = 1.0


class FileServe:
    """Serve with one replica per application, started in START_S; shared by every process."""

    def __init__(self, path: Path, epoch: int) -> None:
        self._path, self._epoch = path, epoch
        with self._state() as state:
            self._admit(state)

    def observe(self) -> Mapping[str, App]:
        with self._state() as state:
            return {
                name: App(
                    status="running" if app["ready_at"] <= time.time() else "starting",
                    version=app["envelope"],
                )
                for name, app in state["apps"].items()
            }

    def answering(self, deployments: Sequence[str]) -> Mapping[str, str | None]:
        with self._state() as state:
            apps = state["apps"]
            ready = {name: apps[name] for name in deployments if name in apps}
            return {
                name: app["envelope"] if app["ready_at"] <= time.time() else None
                for name, app in ready.items()
            }

    def deploy(self, applications: Sequence[Prepared]) -> None:
        with self._state() as state:
            self._admit(state)
            for each in applications:
                name = each.application
                if each.slot == "main":
                    state["orders"].append([self._epoch, name, each.envelope_id])
                app = state["apps"].get(name)
                if app is None or app["envelope"] != each.envelope_id:
                    ready_at = time.time() + START_S
                    app = {"envelope": each.envelope_id, "ready_at": ready_at}
                    state["apps"][name] = app

    def delete(self, applications: Sequence[str]) -> None:
        with self._state() as state:
            self._admit(state)
            for name in applications:
                state["apps"].pop(name, None)

    def traffic(self) -> Mapping[str, Traffic]:
        return {}

    def split(self, splits: Mapping[str, Split | None]) -> None:
        raise AssertionError("nothing is rolled back here")

    def _admit(self, state: dict[str, Any]) -> None:
        if self._epoch < state["epoch"]:
            raise Deposed(f"epoch {self._epoch} is over")
        state["epoch"] = self._epoch

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        with self._path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            state = json.loads(file.read() or '{"epoch": 0, "apps": {}, "orders": []}')
            yield state
            file.truncate(0)
            file.write(json.dumps(state))


def prepare(request: Request) -> Prepared:
    envelope_id = request.envelope.id
    return Prepared(
        deployment=request.deployment, envelope_id=envelope_id, version=envelope_id, spec=None
    )


def read_function(envelope_id: str, name: str, sha256: str) -> Function:
    frame = t.Frame((t.Column("age", t.Float(), "float64", "numpy"),))
    return Function(
        name=name,
        schema=t.FunctionSchema((t.Parameter("X", frame),), t.Float()),
        row_wise=RowWise(is_row_wise=True, reason="proved"),
        sample=Sample(input=[], output=[]),
    )


def main(url: str, serve: str, holder: str, ttl_s: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    registry = open_registry(url)

    def lead(epoch: int) -> Controller:
        led = registry.led_by(epoch)
        return Controller(
            registry=led,
            serve=FileServe(Path(serve), epoch),
            releases=Releases(led, prepare=prepare, read_function=read_function),
            clock=lambda: datetime.now(UTC),
        )

    tenure = Tenure(registry, holder=holder, host="here", pid=os.getpid(), ttl_s=float(ttl_s))
    run(
        registry,
        join=lambda: lead,
        tenure=tenure,
        controller_id=holder,
        stop=stop,
        watchdog=Watchdog(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
