"""Saving models at a platform, and applying them to its Serve without a controller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd
from ulid import ULID

import envelope as me
from envelope.config import DeploymentConfig
from envelope.connection import Connection, connect
from envelope.manifest import Package
from ray_runtime import apps
from ray_runtime.environments import runtime_env_for
from tests.cluster.conftest import Platform

START_S = 90.0  # a start takes 7 s on two idle cores, and the cores are shared
ROW = {"x": 1.0, "y": 2.0}


def frame(rows: int = 10) -> pd.DataFrame:
    """Rows of two float columns, all different."""
    numbers = np.arange(rows, dtype=float)
    return pd.DataFrame({"x": numbers / 4, "y": numbers + 0.5})


def times(factor: float, *, slow_s: float = 0.0, needs_file: str = "") -> Any:
    """A model of one frame: a row's answer is its x and y together, times a factor.

    needs_file: it cannot be loaded where this file is not.
    """

    class Times:
        def __init__(self) -> None:
            self.needs_file = needs_file

        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            if slow_s and len(frame) == 1 and frame["x"].iloc[0] == 7.0:
                import time

                time.sleep(slow_s)
            return np.asarray((frame["x"] + frame["y"]) * factor)

        def __setstate__(self, state: dict[str, Any]) -> None:
            if state["needs_file"]:
                with open(state["needs_file"]):
                    pass
            self.__dict__.update(state)

    Times.__module__ = "__main__"  # as if in a notebook: it travels by value
    return Times()


def save(model: Any, **options: Any) -> str:
    """Save a model that takes `frame()`; return the envelope's id."""
    return me.save_model(
        name="times", model=model, query_function="predict", api_input=frame(), **options
    ).id


def with_another_lock(envelope_id: str, *packages: Package) -> str:
    """Register a copy of an envelope whose lock has these packages too; return its id."""
    here = connect()
    manifest, copy = here.store.get_manifest(envelope_id), str(ULID())
    names = {package.name for package in packages}
    kept = [package for package in manifest.environment.packages if package.name not in names]
    locked = tuple(sorted([*kept, *packages], key=lambda package: package.name))
    environment = msgspec.structs.replace(manifest.environment, packages=locked)
    for name in manifest.functions:
        here.store.put_function(copy, here.store.get_function(envelope_id, name))
    changed = msgspec.structs.replace(manifest, id=copy, environment=environment)
    here.registry.register(changed, here.store.put_manifest(changed), actor="tester")
    return copy


@dataclass(frozen=True)
class Deployments:
    """What a test does to Serve, and sees of it."""

    platform: Platform
    connection: Connection

    def spec(self, name: str, envelope_id: str, **config: Any) -> apps.AppSpec:
        """What an envelope on a deployment needs."""
        row = self.connection.registry.envelope(envelope_id)
        manifest = self.connection.store.get_manifest(envelope_id)
        return apps.AppSpec(
            deployment=name,
            envelope_id=envelope_id,
            manifest_sha256=row.manifest_sha256,
            function_hashes=row.functions,
            release_id=None,
            config=DeploymentConfig(**config),
            runtime_env=runtime_env_for(self.connection.store, manifest),
            store_url=self.connection.store.url,
            serve_url=self.platform.serve_url,
        )

    def run(self, name: str, envelope_id: str, **config: Any) -> apps.AppSpec:
        """Deploy and wait until that envelope answers."""
        spec = self.spec(name, envelope_id, **config)
        apps.deploy([spec])
        self.wait_until_live(spec)
        return spec

    def wait_until_live(self, spec: apps.AppSpec) -> None:
        """Wait until a spec's envelope answers; fail with Serve's reason if it cannot start."""
        for app in self._changes(spec):
            assert app is None or app.status != "failed", app.message
            is_settled = app is not None and app.status == "running"
            if is_settled and apps.answering(spec.serve_url, spec.deployment) == spec.envelope_id:
                return

    def wait_until_failed(self, spec: apps.AppSpec) -> apps.ObservedApp:
        """Wait until Serve says that a spec cannot start."""
        for app in self._changes(spec):
            if app is not None and app.status == "failed":
                return app
        raise AssertionError

    def _changes(self, spec: apps.AppSpec) -> Iterator[apps.ObservedApp | None]:
        version, deadline = apps.version_of(spec), time.monotonic() + START_S
        while time.monotonic() < deadline:
            app = apps.observe().get(spec.deployment)
            yield app if app is not None and app.version == version else None
            time.sleep(0.2)
        raise AssertionError(f"{spec.deployment} did not settle in {START_S:g} s: {app}")

    def url(self, path: str) -> str:
        """Where a path of a deployment is."""
        return f"{self.platform.serve_url}/{path}"

    def query(self, name: str, value: Any = ROW, **options: Any) -> httpx.Response:
        """Send a value as JSON."""
        return httpx.post(self.url(f"{name}/v0/query"), json=value, timeout=30, **options)


def replica_pids(name: str) -> set[int]:
    """The processes that run replicas of a deployment now."""
    found = apps._details().get(name)
    if found is None:
        return set()
    return {
        replica.pid
        for deployment in found.deployments.values()
        for replica in deployment.replicas
        if replica.state.value == "RUNNING"
    }
