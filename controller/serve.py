"""Ray Serve, as the controller needs it. All that touches Serve itself is `ray_runtime.apps`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from controller.apply import Prepared
from controller.releases import Request
from controller.state import App
from envelope.manifest import Function, Manifest
from envelope.registry import EnvelopeRow
from envelope.settings import Settings
from envelope.store import Store
from ray_runtime import apps, shares
from ray_runtime.connection import serve_url
from ray_runtime.environments import runtime_env_for
from ray_runtime.scaling import scale_of
from ray_runtime.traffic import Split, Traffic
from ray_runtime.writer import FencedWriter

PROBES = 16  # deployments asked at once what answers; one that hangs takes two seconds
MANIFESTS = 512  # kept in memory, some 20 kB each; and as many functions


class RayServe:
    """The Serve of the cluster that this process has joined, for the leader of one epoch.

    Raises Deposed, also when made, once another leads.
    """

    def __init__(self, settings: Settings, epoch: int) -> None:
        self._writer = FencedWriter(epoch)
        self._serve_url = serve_url(settings)
        self._probes = ThreadPoolExecutor(PROBES, thread_name_prefix="answering")

    def observe(self) -> Mapping[str, App]:
        return {name: _app(each) for name, each in apps.observe().items()}

    def answering(self, deployments: Sequence[str]) -> Mapping[str, str | None]:
        ask = partial(apps.answering, self._serve_url)
        return dict(zip(deployments, self._probes.map(ask, deployments), strict=True))

    def deploy(self, applications: Sequence[Prepared]) -> None:
        if any(each.slot != "main" for each in applications):
            self._writer.write(shares.start_shares)
        specs = [
            replace(each.spec, slot=each.slot, has_answered=each.has_answered)
            for each in applications
        ]
        self._writer.write(apps.deploy, specs)

    def delete(self, applications: Sequence[str]) -> None:
        self._writer.write(apps.delete, applications)

    def traffic(self) -> Mapping[str, Traffic]:
        return shares.read_traffic()

    def split(self, splits: Mapping[str, Split | None]) -> None:
        self._writer.write(shares.put_splits, splits)


class Preparer:
    """Makes applications from registry rows and manifests; loads nothing of a model."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._serve_url = serve_url(settings)
        self._manifests: dict[str, Manifest] = {}
        self._functions: dict[str, Function] = {}
        self._runtime_envs: dict[str, Mapping[str, Any]] = {}

    def read_manifest(self, row: EnvelopeRow) -> Manifest:
        """Read an envelope's manifest, its hash checked. Raises StorageError, IntegrityError."""
        if row.id not in self._manifests:
            while len(self._manifests) >= MANIFESTS:
                del self._manifests[next(iter(self._manifests))]
            self._manifests[row.id] = self._store.get_manifest(row.id, row.manifest_sha256)
        return self._manifests[row.id]

    def read_function(self, envelope_id: str, name: str, sha256: str) -> Function:
        """Read a function's record, its hash checked; no code is loaded.

        Raises StorageError, ModelNotFound, IntegrityError.
        """
        if sha256 not in self._functions:
            while len(self._functions) >= MANIFESTS:
                del self._functions[next(iter(self._functions))]
            self._functions[sha256] = self._store.get_function(envelope_id, name, sha256)
        return self._functions[sha256]

    def _runtime_env(self, row: EnvelopeRow) -> Mapping[str, Any]:
        """Equal environments are worked out once: it takes longer than all else of a release."""
        known = self._runtime_envs
        manifest = self.read_manifest(row)
        key = hashlib.sha256(msgspec.json.encode(manifest.environment)).hexdigest()
        if key not in known:
            while len(known) >= MANIFESTS:
                del known[next(iter(known))]
            known[key] = runtime_env_for(self._store, manifest)
        return known[key]

    def prepare(self, request: Request) -> Prepared:
        """Say what Serve would be asked for.

        Raises StorageError, and DependencyError when its environment cannot go with this cluster.
        """
        envelope = request.envelope
        spec = apps.AppSpec(
            deployment=request.deployment,
            envelope_id=envelope.id,
            manifest_sha256=envelope.manifest_sha256,
            function_hashes=request.functions,
            release_id=request.release_id,
            config=request.config,
            runtime_env=self._runtime_env(envelope),
            store_url=self._store.url,
            serve_url=self._serve_url,
        )
        return Prepared(
            deployment=request.deployment,
            envelope_id=envelope.id,
            version=_version(apps.version_of(spec), scale_of(request.config)),
            spec=spec,
        )


def _app(found: apps.ObservedApp) -> App:
    version = found.version
    return App(
        status=found.status,
        version=None if version is None else _version(version, found.scale),
        message=found.message,
        envelope_id=found.envelope_id,
        target_replicas=found.target_replicas,
        may_answer=found.may_answer,
    )


def _version(replica_version: str, scale: str) -> str:
    """Serve changes the number of replicas in place; to the controller it is a change like any.

    What load makes of the number is none: `scale` is what was asked for.
    """
    return f"{replica_version}-{scale}"
