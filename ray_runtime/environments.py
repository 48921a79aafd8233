"""The runtime_env plugin: a model's lock becomes a virtual environment on the node that needs it.

`runtime_env_for` is called where something is started; `EnvelopePlugin` runs in the runtime_env
agent of each node, which RAY_RUNTIME_ENV_PLUGINS tells of it. See docs/environments.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from ray._private.runtime_env.context import RuntimeEnvContext
from ray._private.runtime_env.plugin import RuntimeEnvPlugin

from envelope.capture.environment import platform_tag
from envelope.capture.installed import OWN_DISTRIBUTION
from envelope.environment import (
    EnvironmentSpec,
    build_environment,
    check_python,
    claim,
    installed_packages,
    repack_wheel,
    runtime_requirements,
    runtime_version,
    sweep,
    transitive_of,
    unmet,
)
from envelope.environment.build import requirement_lines
from envelope.errors import ConfigError, DependencyError, EnvelopeError, ModelNotFound
from envelope.manifest import Manifest, read_record, to_bytes
from envelope.settings import Settings
from envelope.store import Store
from ray_runtime.niceness import nice_start

FIELD = "envelope"
SEEN = "ENVELOPE_NODE_PLUGIN"  # in a worker's environment: the plugin was there, and its version
BUILDS = 2  # at once per node; a head that comes back would otherwise build hundreds together
FAILURE_S = 10.0  # Ray asks again within seconds; the resolver would say the same again
KEY = re.compile(r"[0-9a-f]{32}")

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The plugin's field of a runtime_env. None of both: only say that the plugin is there."""

    key: str | None
    store: str | None


def runtime_env_for(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Return the runtime_env in which this envelope's model runs, and note its recipe in the store.

    The lock, and what the runtime adds in the versions of this interpreter, which is the cluster's.
    On a cluster without our plugin it is Ray's own uv field, beside what the nodes have installed.
    Raises DependencyError when they cannot go together, or the lock is for another Python minor.
    """
    from ray_runtime.nodes import builder  # which needs the names above

    spec = spec_for(manifest, store.url)
    if builder() == "uv":
        packages = requirement_lines(spec.lock.packages, ())
        # Without options of ours Ray says --no-cache.
        return {"uv": {"packages": packages, "uv_check": False, "uv_pip_install_options": []}}
    path = document_path(spec.key)
    try:
        store.get_document(path)
    except ModelNotFound:
        store.put_document(path, to_bytes(spec))
    return {FIELD: {"key": spec.key, "store": store.url}}


def spec_for(manifest: Manifest, store_url: str) -> EnvironmentSpec:
    """Return what decides the environment of this envelope on a cluster like this interpreter."""
    check_python(locked=manifest.environment.python, running=platform.python_version())
    packages = manifest.environment.packages
    return EnvironmentSpec(
        python=platform.python_version(),
        platform=platform_tag(),
        packages=packages,
        locked_on=manifest.environment.platform,
        transitive=transitive_of(manifest.environment, platform_tag()),
        constraints=runtime_requirements(packages, store_url=store_url),
        runtime_version=runtime_version(),
    )


def document_path(key: str) -> str:
    """Return where the store keeps the recipe of an environment."""
    return f"environments/{key}.json"


def reason_of(text: str) -> str | None:
    """Find our own error in what Ray says when an environment failed; None if it is not there.

    Ray gives a traceback of its agent around it.
    """
    marks = list(re.finditer(r"^(?:envelope\.errors\.)(\w+Error|ModelNotFound): ", text, re.M))
    return text[marks[-1].end() :].strip() if marks else None


def read_wanted(runtime_env: Mapping[str, Any]) -> Wanted:
    """Read the plugin's field. Raises ConfigError when it is not what `runtime_env_for` writes."""
    field = runtime_env.get(FIELD)
    if field == {"probe": True}:
        return Wanted(key=None, store=None)
    if (
        isinstance(field, Mapping)
        and set(field) == {"key", "store"}
        and isinstance(field["store"], str)
        and isinstance(field["key"], str)
        and KEY.fullmatch(field["key"])
    ):
        return Wanted(key=field["key"], store=field["store"])
    raise ConfigError(
        f"runtime_env[{FIELD!r}] is {field!r}; it is made by ray_runtime.environments."
        "runtime_env_for, as {'key': 32 hex digits, 'store': URL}"
    )


class EnvelopePlugin(RuntimeEnvPlugin):  # type: ignore[misc] # Ray ships no types
    """Runs in a node's agent. An environment is built in a thread, so that the agent answers."""

    name = FIELD
    priority = 20  # after Ray's own (10): working_dir sets a PYTHONPATH that is dropped here

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._builders = ThreadPoolExecutor(BUILDS, thread_name_prefix="envelope-build")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="envelope-sweep")
        self._pythons: dict[str, Path | None] = {}
        self._failures: dict[str, tuple[float, DependencyError]] = {}

    @staticmethod
    def validate(runtime_env_dict: dict[str, Any]) -> None:
        """Refuse a field that is not ours, before anything is done."""
        read_wanted(runtime_env_dict)

    def get_uris(self, runtime_env: Mapping[str, Any]) -> list[str]:
        """Return none: Ray then asks `create` every time, which sees an environment that is gone.

        With a URI Ray would trust its own memory, also after the folder was removed.
        """
        return []

    async def create(
        self,
        uri: str | None,
        runtime_env: Mapping[str, Any],
        context: RuntimeEnvContext,
        logger: logging.Logger,
    ) -> float:
        """Make sure that the environment is there, building it if it is not.

        Raises DependencyError, StorageError or ModelNotFound; Ray shows them to whoever asked.
        Returns 0 bytes: what lies outside Ray's session is not Ray's to evict.
        """
        wanted = read_wanted(runtime_env)
        if wanted.key is None or wanted.store is None:
            return 0
        failed_at, failure = self._failures.get(wanted.key, (0.0, None))
        if failure is not None and time.monotonic() - failed_at < FAILURE_S:
            raise failure.with_traceback(None)
        loop = asyncio.get_running_loop()
        settings = Settings.read(self._environ)
        root = settings.environments_dir
        was_there = (root / wanted.key).exists()
        try:
            self._pythons[wanted.key] = await loop.run_in_executor(
                self._builders, prepare, wanted.key, wanted.store, root, logger.info
            )
        except DependencyError as exc:
            self._failures[wanted.key] = (time.monotonic(), exc)
            raise exc.with_traceback(None) from None
        except EnvelopeError as exc:
            raise exc.with_traceback(None) from None
        if not was_there:  # one more: nobody waits for others to make room
            self._sweeper.submit(_make_room, root, settings.environments_max_bytes, logger.info)
        return 0

    def modify_context(
        self,
        uris: list[str],
        runtime_env: Mapping[str, Any],
        context: RuntimeEnvContext,
        logger: logging.Logger,
    ) -> None:
        """Let the worker start in the environment, with nothing of the node's own in reach."""
        wanted = read_wanted(runtime_env)
        context.env_vars[SEEN] = runtime_version()
        if wanted.key is None:
            return
        python = self._pythons.get(wanted.key)
        if python is not None:
            path = context.env_vars.get("PATH") or self._environ.get("PATH", os.defpath)
            context.py_executable = str(python)
            context.env_vars.update(
                {
                    "PATH": f"{python.parent}{os.pathsep}{path}",
                    "VIRTUAL_ENV": str(python.parent.parent),
                    # Empty is as good as unset for Python, and it cannot be unset here.
                    "PYTHONPATH": "",
                    "PYTHONHOME": "",
                    "PYTHONNOUSERSITE": "1",
                    # Images often set it: each start would compile Ray and pandas again (3 s).
                    "PYTHONDONTWRITEBYTECODE": "",
                }
            )
        context.py_executable, variables = nice_start(
            context.py_executable, runtime_env.get("env_vars", {})
        )
        context.env_vars.update(variables)

    def delete_uri(self, uri: str, logger: logging.Logger) -> float:
        """Free nothing: environments are kept across restarts of the cluster."""
        return 0


def prepare(key: str, store_url: str, root: Path, log: Log) -> Path | None:
    """Return the Python of an environment, None when this node's own will do.

    root: where this node keeps environments. log: gets what the resolver says, line by line.
    Raises DependencyError when it cannot be built; ModelNotFound, StorageError without a recipe.
    """
    if python := claim(root / key):
        return python
    spec = read_spec(Store(store_url), key)
    check_python(locked=spec.python, running=platform.python_version())
    _check_runtime(spec)
    # A node of another patch version or processor builds its own, under its own name.
    spec = msgspec.structs.replace(spec, python=platform.python_version(), platform=platform_tag())
    differences = unmet(spec.lock, installed_packages())
    if not differences:
        log(f"environment {key}: this node's own Python satisfies the lock")
        return None
    log(f"environment {key}: building it, since {'; '.join(differences[:5])}")
    wheel = repack_wheel(OWN_DISTRIBUTION, root / ".wheels")
    return build_environment(spec, root, wheel=wheel, log=log)


def _make_room(root: Path, limit_bytes: int, log: Log) -> None:
    for gone in sweep(root, limit_bytes=limit_bytes):
        log(f"environment {gone.key}: removed, {gone.freed_bytes:,} bytes are free again")


def read_spec(store: Store, key: str) -> EnvironmentSpec:
    """Read the recipe of an environment. Raises ModelNotFound, IntegrityError, StorageError."""
    path = document_path(key)
    return read_record(store.get_document(path), EnvironmentSpec, where=f"{store.url}/{path}")


def _check_runtime(spec: EnvironmentSpec) -> None:
    """Refuse a node whose model-envelope is another release than the one that asks."""
    asked, here = spec.runtime_version.partition("+")[0], runtime_version().partition("+")[0]
    if asked != here:
        raise DependencyError(
            f"{OWN_DISTRIBUTION} {asked} asks for an environment on {platform.node()}, which has "
            f"{here}; install the same version on every node and where the controller runs"
        )
