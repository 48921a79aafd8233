"""A model's environment on a real node: built there, once, kept, and with nothing else in reach."""

from __future__ import annotations

import os
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import envelope as me
from envelope.capture.environment import capture_environment, platform_tag
from envelope.capture.installed import installed
from envelope.environment import is_ready, sweep
from envelope.environment import look as look_at
from envelope.manifest import Manifest, Package
from envelope.store import Store
from ray_runtime import cluster
from ray_runtime.environments import reason_of, runtime_env_for
from tests.cluster.conftest import Platform, leave
from tests.cluster.deployments import save, times, with_another_lock
from tests.manifests import a_manifest, an_environment

# Pure Python, small, needed by nothing that Ray pulls in, and not the version that is here.
OTHER = Package(name="lark", version="1.1.9")


@pytest.fixture
def store(ray_only: Platform) -> Store:
    return Store(ray_only.settings.store_url)


def lock(*packages: Package) -> Manifest:
    return a_manifest(environment=an_environment(packages=packages))


def look() -> dict[str, Any]:
    """What a worker sees. Travels by value: the environment has no tests in it."""
    import importlib.metadata
    import os
    import sys

    import ray_runtime

    return {
        "prefix": sys.prefix,
        "lark": importlib.metadata.version("lark"),
        "runtime": str(ray_runtime.__file__),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "bin": os.environ["PATH"].split(os.pathsep)[0],
        "user_site": os.environ.get("PYTHONNOUSERSITE"),
    }


def by_value(function: Callable[[], Any]) -> Callable[[], Any]:
    """A copy of a function that pickles with its code, as one typed into a notebook does."""
    import types

    return types.FunctionType(function.__code__, {"__name__": "__main__"}, function.__name__)


def ask(runtime_env: dict[str, Any]) -> dict[str, Any]:
    import ray

    task = ray.remote(by_value(look)).options(runtime_env=runtime_env, num_cpus=0.1)
    found: dict[str, Any] = ray.get(task.remote(), timeout=120)
    return found


def built(platform: Platform) -> dict[str, float]:
    """Each environment there is, and when it was begun."""
    root = platform.settings.environments_dir
    return {
        path.name: (path / "pyvenv.cfg").stat().st_mtime
        for path in root.iterdir()
        if is_ready(path)
    }


def test_a_task_runs_in_the_locked_environment(ray_only: Platform, store: Store) -> None:
    ray_only.connect()
    runtime_env = runtime_env_for(store, lock(OTHER))

    seen = ask(runtime_env)

    prefix = ray_only.settings.environments_dir / runtime_env["envelope"]["key"]
    assert seen["lark"] == "1.1.9" != installed().versions["lark"]
    assert Path(seen["prefix"]) == prefix
    assert seen["bin"] == str(prefix / "bin")
    assert seen["user_site"] == "1"


def test_nothing_of_the_checkout_is_in_reach(ray_only: Platform, store: Store) -> None:
    ray_only.connect()
    checkout = Path(__file__).parents[2]

    seen = ask(runtime_env_for(store, lock(OTHER)))

    # The node's own Python may be a virtual environment inside the checkout: that is Ray's part.
    ours = [p for p in seen["path"] if checkout in Path(p).parents and "site-packages" not in p]
    assert not ours and str(checkout) not in seen["path"]
    assert seen["prefix"] in seen["runtime"]
    assert not list(Path(seen["folder"]).iterdir())


def test_equal_locks_are_built_once_for_all_who_ask(ray_only: Platform, store: Store) -> None:
    ray_only.connect()
    before = built(ray_only)
    runtime_env = runtime_env_for(store, lock(Package(name="lark", version="1.1.8")))
    seen: list[dict[str, Any]] = []

    def one(number: int) -> None:
        # Other variables make it another runtime_env for Ray, which then asks the plugin again.
        seen.append(ask(runtime_env | {"env_vars": {"NUMBER": str(number)}}))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [found["lark"] for found in seen] == ["1.1.8"] * 3
    assert built(ray_only).keys() - before.keys() == {runtime_env["envelope"]["key"]}
    assert len({found["prefix"] for found in seen}) == 1


def test_a_lock_that_the_node_satisfies_is_not_built(ray_only: Platform, store: Store) -> None:
    ray_only.connect()
    before = built(ray_only)
    here = Package(name="lark", version=installed().versions["lark"])

    seen = ask(runtime_env_for(store, lock(here)))

    assert seen["lark"] == here.version
    assert built(ray_only) == before


def test_a_bad_pin_is_a_clear_error_soon(ray_only: Platform, store: Store) -> None:
    import ray.exceptions

    ray_only.connect()
    begun = time.monotonic()
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError) as caught:
        ask(runtime_env_for(store, lock(Package(name="lark", version="99.0.0"))))
    assert time.monotonic() - begun < 20

    reason = reason_of(str(caught.value))
    assert reason is not None
    assert "lark==99.0.0" in reason
    assert "Traceback" not in reason


def test_a_recipe_that_is_gone_is_named(ray_only: Platform, store: Store) -> None:
    import ray.exceptions

    ray_only.connect()
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError) as caught:
        ask({"envelope": {"key": "0" * 32, "store": store.url}})

    assert "environments/00000000000000000000000000000000.json" in (
        reason_of(str(caught.value)) or ""
    )


def test_a_replica_answers_from_the_locked_environment(ray_only: Platform, store: Store) -> None:
    from ray import serve

    ray_only.connect()
    runtime_env = runtime_env_for(store, lock(OTHER))

    class Version:
        async def __call__(self, request: Any) -> str:
            import importlib.metadata

            return importlib.metadata.version("lark")

    deployment = serve.deployment(Version).options(
        name="version", ray_actor_options={"runtime_env": runtime_env, "num_cpus": 0.1}
    )
    serve.run(deployment.bind(), name="version", route_prefix="/version")
    try:
        assert httpx.get(f"{ray_only.serve_url}/version", timeout=30).text == "1.1.9"
    finally:
        serve.delete("version", _blocking=False)  # it drains for half a minute


def test_a_table_is_scored_in_the_locked_environment(ray_only: Platform, store: Store) -> None:
    import ray

    ray_only.connect()
    runtime_env = runtime_env_for(store, lock(OTHER))

    def version(batch: Any) -> Any:
        import importlib.metadata

        return {"lark": [importlib.metadata.version("lark")] * len(batch["id"])}

    rows = ray.data.range(10).map_batches(version, runtime_env=runtime_env).take_all()
    assert [row["lark"] for row in rows] == ["1.1.9"] * 10


def test_what_a_model_needs_is_captured_and_satisfied_here(
    ray_only: Platform, store: Store
) -> None:
    """A lock taken from this interpreter asks for nothing that its own cluster lacks."""
    ray_only.connect()
    captured = capture_environment(["sklearn.linear_model"], None, [])
    manifest = lock(*captured.packages)
    before = built(ray_only)

    ask(runtime_env_for(store, manifest))

    assert built(ray_only) == before


def test_an_environment_is_in_use_while_a_worker_lives(ray_only: Platform, store: Store) -> None:
    import ray

    ray_only.connect()
    root = ray_only.settings.environments_dir
    runtime_env = runtime_env_for(store, lock(OTHER))
    ask(runtime_env)
    target = root / runtime_env["envelope"]["key"]
    for name in ("READY", "IN_USE"):
        os.utime(target / name, (0, 0))  # as if it had been asked for long ago

    def wait() -> int:
        import os
        import time

        time.sleep(60)
        return os.getpid()

    task = ray.remote(types.FunctionType(wait.__code__, {"__name__": "__main__"}, "wait"))
    held = task.options(runtime_env=runtime_env, num_cpus=0.1).remote()
    deadline = time.monotonic() + 60
    while state_of(target) != "in use":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert target.name not in [one.key for one in sweep(root, limit_bytes=10**12)]
    ray.cancel(held, force=True)


def state_of(target: Path) -> str:
    os.utime(target / "READY", (0, 0))
    return next(one.state for one in look_at(target.parent) if one.key == target.name)


def test_an_envelope_is_proved_on_the_cluster(
    ray_only: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment of a replica, and not where it was saved; a failure is a fact too."""
    for name, value in ray_only.environ.items():
        if name.startswith("ENVELOPE_"):
            monkeypatch.setenv(name, value)
    saved = save(times(2.0))
    elsewhere = with_another_lock(saved, OTHER)
    proved = ray_only.run("envelope", "verify", elsewhere, "--cluster")
    assert proved.returncode == 0, proved.stdout
    assert "equal, bit for bit" in proved.stdout

    (proof,) = me.get(elsewhere).proofs()
    assert proof.report is not None and (proof.ok, proof.platform) == (True, platform_tag())
    assert (ray_only.settings.environments_dir / proof.report.environment / "READY").exists()

    lacking = with_another_lock(saved, Package(name="lark", version="99.0.0"))
    refused = ray_only.run("envelope", "verify", lacking, "--cluster")
    assert refused.returncode == 1
    assert "rebuilding its environment failed" in refused.stdout
    assert "lark==99.0.0" in refused.stdout
    assert [(one.ok, "lark==99.0.0" in one.detail) for one in me.get(lacking).proofs()] == [
        (False, True)
    ]


def test_an_environment_outlives_the_cluster(ray_only: Platform, store: Store) -> None:
    """Last in this module: it starts the cluster anew, in the same home and on the same ports."""
    ray_only.connect()
    runtime_env = runtime_env_for(store, lock(OTHER))
    ask(runtime_env)
    before = built(ray_only)

    leave()
    cluster.stop(ray_only.settings)
    cluster.start(ray_only.settings)
    ray_only.connect()
    ask(runtime_env)

    assert built(ray_only) == before
