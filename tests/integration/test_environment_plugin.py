"""The plugin as a node's agent runs it, with the real uv: many ask, few build."""

from __future__ import annotations

import asyncio
import logging
import platform
from pathlib import Path

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext

from envelope.capture.environment import platform_tag
from envelope.environment import EnvironmentSpec, runtime_version
from envelope.manifest import Package, to_bytes
from envelope.store import Store
from ray_runtime.environments import EnvelopePlugin, document_path
from tests.integration.test_environment_build import says, wheels
from tests.wheels import write_wheel

__all__ = ["wheels"]  # the fixture

LOCKS, ASKS = 10, 50


def test_fifty_deployments_over_ten_locks_are_ten_builds(
    wheels: Path,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(str(tmp_path / "store"))
    keys = []
    for number in range(LOCKS):
        write_wheel(wheels, "omega", f"{number}.0")
        spec = EnvironmentSpec(
            python=platform.python_version(),
            platform=platform_tag(),
            packages=(Package(name="omega", version=f"{number}.0"),),
            runtime_version=runtime_version(),
        )
        store.put_document(document_path(spec.key), to_bytes(spec))
        keys.append(spec.key)
    plugin = EnvelopePlugin({"ENVELOPE_HOME": str(home)})
    log = logging.getLogger("agent")

    async def ask(number: int) -> Path:
        # Each deployment has a runtime_env of its own for Ray, which asks for each.
        runtime_env = {"envelope": {"key": keys[number % LOCKS], "store": store.url}}
        context = RuntimeEnvContext()
        await plugin.create(None, runtime_env, context, log)
        plugin.modify_context([], runtime_env, context, log)
        return Path(context.py_executable.split()[-1])  # after `nice -n 10`

    async def ask_at_once() -> list[Path]:
        return await asyncio.gather(*map(ask, range(ASKS)))

    with caplog.at_level(logging.INFO, "agent"):
        pythons = asyncio.run(ask_at_once())
    assert len(set(pythons)) == LOCKS
    assert says(pythons[7], "import omega; print(omega.__version__)") == "7.0"
    built = [line for line in caplog.messages if line.startswith("Installed 1 package")]
    # Each build says it twice: the lock, then our own wheel.
    assert len(built) == 2 * LOCKS, caplog.messages
