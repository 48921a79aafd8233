"""The runtime_env plugin without Ray around it: what it asks, refuses, remembers and changes."""

from __future__ import annotations

import asyncio
import logging
import platform
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext

from envelope.capture.environment import platform_tag
from envelope.capture.installed import installed
from envelope.environment import EnvironmentSpec, runtime_version
from envelope.errors import ConfigError, DependencyError, ModelNotFound
from envelope.manifest import Package, to_bytes
from envelope.store import Store
from ray_runtime import environments
from ray_runtime.environments import (
    EnvelopePlugin,
    document_path,
    prepare,
    read_wanted,
    reason_of,
    runtime_env_for,
    spec_for,
)
from ray_runtime.niceness import STARTING
from tests.manifests import a_manifest, an_environment

KEY = "0123456789abcdef0123456789abcdef"
HERE = platform.python_version()
LOG = logging.getLogger("plugin")


def field(key: str = KEY, store: str = "memory://x") -> dict[str, Any]:
    return {"envelope": {"key": key, "store": store}}


def a_spec(**changes: Any) -> EnvironmentSpec:
    fields: dict[str, Any] = {
        "python": HERE,
        "platform": platform_tag(),
        "packages": (Package(name="lark", version=installed().versions["lark"]),),
        "runtime_version": runtime_version(),
    }
    return EnvironmentSpec(**{**fields, **changes})


def put(store: Store, spec: EnvironmentSpec) -> EnvironmentSpec:
    store.put_document(document_path(spec.key), to_bytes(spec))
    return spec


def silent(line: str) -> None:
    del line


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="empty"),
        pytest.param("key", id="not-an-object"),
        pytest.param({"key": KEY}, id="no-store"),
        pytest.param({"key": "../../etc", "store": "memory://x"}, id="leads-out"),
        pytest.param({"key": KEY, "store": "memory://x", "more": 1}, id="unknown-member"),
        pytest.param({"key": KEY, "store": None}, id="store-is-none"),
    ],
)
def test_a_field_that_is_not_ours_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="made by ray_runtime"):
        EnvelopePlugin.validate({"envelope": value})


def test_a_field_of_ours_is_read() -> None:
    wanted = read_wanted(field())
    assert (wanted.key, wanted.store) == (KEY, "memory://x")
    assert read_wanted({"envelope": {"probe": True}}).key is None


def test_the_recipe_is_noted_in_the_store(memory_store: Store) -> None:
    manifest = a_manifest(environment=an_environment(python=HERE))
    runtime_env = runtime_env_for(memory_store, manifest)
    assert runtime_env == runtime_env_for(memory_store, manifest)
    key = runtime_env["envelope"]["key"]
    spec = environments.read_spec(memory_store, key)
    assert spec == spec_for(manifest, memory_store.url)
    assert spec.key == key
    assert spec.packages == manifest.environment.packages
    assert any(line.startswith("ray[") for line in spec.constraints)


def test_another_python_minor_is_refused_with_its_remedy(memory_store: Store) -> None:
    manifest = a_manifest(environment=an_environment(python="3.9.1"))
    with pytest.raises(DependencyError, match=r"saved with Python 3\.9\.1"):
        runtime_env_for(memory_store, manifest)


def test_a_lock_that_this_python_satisfies_needs_no_other(
    memory_store: Store, tmp_path: Path
) -> None:
    spec = put(memory_store, a_spec())
    assert prepare(spec.key, memory_store.url, tmp_path, silent) is None
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_is_there_needs_no_store(tmp_path: Path) -> None:
    python = tmp_path / KEY / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / KEY / "READY").touch()
    assert prepare(KEY, "memory://nowhere", tmp_path, silent) == python


def test_a_recipe_that_is_gone_is_named(memory_store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=f"environments/{KEY}.json"):
        prepare(KEY, memory_store.url, tmp_path, silent)


def test_a_node_of_another_release_refuses(memory_store: Store, tmp_path: Path) -> None:
    spec = put(memory_store, a_spec(runtime_version="9.9.9"))
    with pytest.raises(DependencyError, match=r"model-envelope 9\.9\.9 asks for an environment"):
        prepare(spec.key, memory_store.url, tmp_path, silent)


def create(plugin: EnvelopePlugin, runtime_env: dict[str, Any]) -> RuntimeEnvContext:
    context = RuntimeEnvContext()
    asyncio.run(plugin.create(None, runtime_env, context, LOG))  # type: ignore[arg-type]
    plugin.modify_context([], runtime_env, context, LOG)
    return context


def test_a_worker_starts_in_its_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / KEY / "bin" / "python"
    monkeypatch.setattr(environments, "prepare", lambda *_: python)
    context = create(EnvelopePlugin({"PATH": "/usr/bin", "HOME": str(tmp_path)}), field())
    assert context.py_executable == f"nice -n {STARTING} {python}"
    assert context.env_vars == {
        "ENVELOPE_NODE_PLUGIN": runtime_version(),
        "PATH": f"{python.parent}:/usr/bin",
        "VIRTUAL_ENV": str(tmp_path / KEY),
        "PYTHONPATH": "",
        "PYTHONHOME": "",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "",
    }


def test_a_probe_only_says_that_the_plugin_is_there() -> None:
    before = RuntimeEnvContext()
    context = create(EnvelopePlugin({}), {"envelope": {"probe": True}})
    assert context.py_executable == before.py_executable
    assert context.env_vars == {"ENVELOPE_NODE_PLUGIN": runtime_version()}


def test_a_failure_is_told_again_without_trying_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries: list[str] = []

    def fail(key: str, *_: Any) -> Path:
        tries.append(key)
        raise DependencyError("no such version")

    monkeypatch.setattr(environments, "prepare", fail)
    plugin = EnvelopePlugin({"HOME": str(tmp_path)})
    for _ in range(3):
        with pytest.raises(DependencyError, match="no such version"):
            create(plugin, field())
    assert tries == [KEY]
    monkeypatch.setattr(environments, "FAILURE_S", 0.0)
    with pytest.raises(DependencyError):
        create(plugin, field())
    assert len(tries) == 2


def test_the_agent_answers_while_an_environment_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import threading

    go_on = threading.Event()

    def build(*_: Any) -> None:
        assert go_on.wait(10)

    monkeypatch.setattr(environments, "prepare", build)
    plugin = EnvelopePlugin({"HOME": str(tmp_path)})

    async def both() -> None:
        building = asyncio.create_task(
            plugin.create(None, field(), RuntimeEnvContext(), LOG)  # type: ignore[arg-type]
        )
        await asyncio.sleep(0.05)  # the loop turns
        assert not building.done()
        go_on.set()
        await building

    asyncio.run(both())


@pytest.mark.parametrize(
    "text, reason",
    [
        pytest.param(
            "[Node 1.2.3.4] Traceback (most recent call last):\n  File ...\n"
            "envelope.errors.EnvironmentBuildError: environment x: no\n  line\n",
            "environment x: no\n  line",
            id="ours",
        ),
        pytest.param(
            "envelope.errors.StorageError: first\n\nenvelope.errors.DependencyError: last",
            "last",
            id="the-last-one",
        ),
        pytest.param("envelope.errors.ModelNotFound: gone", "gone", id="not-called-error"),
        pytest.param("RuntimeError: something of Ray's", None, id="not-ours"),
    ],
)
def test_our_reason_is_found_in_rays_text(text: str, reason: str | None) -> None:
    assert reason_of(text) == reason
