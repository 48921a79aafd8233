"""Environments on a node: a new lock, the same lock again, beside Ray's own `uv` field in one run.

`python benchmarks/environments.py` starts a platform of its own, and stops it. All wheels are in
uv's cache before anything is measured, for both sides.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import httpx
import msgspec
from hot_swap import NAME, STATE, envelope, other_python, save
from peers import machine

import envelope as me
from envelope.connection import connect
from envelope.environment import build_environment, repack_wheel
from envelope.environment.build import requirement_lines
from envelope.manifest import Manifest, Package
from envelope.settings import Settings
from ray_runtime.environments import runtime_env_for, spec_for

PROMISED_RATIO, PROMISED_BYTES = 3.0, 50_000_000
# Pure Python and small: each makes another lock of the same packages.
OTHERS = ("1.1.9", "1.1.8", "1.1.7", "1.1.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--other-sklearn", default="1.8.0", help="what the models' lock has")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="environments-") as home:
        os.environ["ENVELOPE_HOME"] = home
        try:
            run(Settings.read(), options)
        finally:
            envelope("down")


def run(settings: Settings, options: argparse.Namespace) -> None:
    python = other_python(settings.home / "other", options.other_sklearn)
    ids = [save(python, slope, "") for slope in ("1", "2")]
    manifest = me.get(ids[0]).manifest
    locks = [with_package(manifest, version) for version in OTHERS[: options.rounds]]
    new_bytes = max(built_apart(settings, one) for one in locks)  # fills uv's cache, too
    print(f"new disk before the first import: {new_bytes / 1e6:.1f} MB")

    envelope("up")
    state = settings.home / "state.yaml"
    state.write_text(STATE)
    envelope("apply", "-f", str(state))
    print(f"a new lock, from its tag to the first answer: {answered(settings, ids[0]):.1f} s")
    print(f"a second model with that lock: {answered(settings, ids[1]):.1f} s")

    ours, rays = [], []
    for one in locks:
        ours.append(build_s(settings, runtime_env_for(connect().store, one)))
        packages = requirement_lines(one.environment.packages)
        field = {"packages": packages, "uv_check": False, "uv_pip_install_options": []}
        rays.append(build_s(settings, {"uv": field}))
    their_bytes = max(new_disk(folder) for folder in rays_folders(settings))
    mine, theirs = statistics.median(ours), statistics.median(rays)
    print(f"built by the plugin: {mine:.1f} s (median of {len(ours)}), {new_bytes / 1e6:.1f} MB")
    print(f"built by Ray's uv field: {theirs:.1f} s, {their_bytes / 1e6:.1f} MB")
    print(f"ratio: {theirs / mine:.1f}x faster, {their_bytes / new_bytes:.0f}x less disk")
    faults = []
    if theirs / mine < PROMISED_RATIO:
        faults.append(f"promised is {PROMISED_RATIO:g}x faster")
    if new_bytes > PROMISED_BYTES:
        faults.append(f"promised are {PROMISED_BYTES / 1e6:.0f} MB")
    if faults:
        sys.exit("NOT KEPT: " + "; ".join(faults))


def with_package(manifest: Manifest, version: str) -> Manifest:
    environment = manifest.environment
    packages = (*environment.packages, Package(name="lark", version=version))
    return msgspec.structs.replace(
        manifest, environment=msgspec.structs.replace(environment, packages=packages)
    )


def built_apart(settings: Settings, manifest: Manifest) -> int:
    """Build an environment that nothing runs in; return what it takes that nothing else has."""
    root = settings.home / "apart"
    spec = spec_for(manifest, settings.store_url)
    wheel = repack_wheel("model-envelope", root / ".wheels")
    return new_disk(build_environment(spec, root, wheel=wheel).parents[1])


def answered(settings: Settings, envelope_id: str) -> float:
    """Tag an envelope, so that a rule deploys it; return the seconds until it answers."""
    url = f"http://127.0.0.1:{settings.serve_port}/{NAME}/v0/query"
    body = dict.fromkeys("abcdefgh", 0.5)
    began = time.monotonic()
    me.get(envelope_id).set_tags(ready="true")
    with httpx.Client(timeout=5) as client:
        while time.monotonic() - began < 300:
            try:
                response = client.post(url, json=body)
                if response.headers.get("X-Envelope-Id") == envelope_id and response.is_success:
                    return time.monotonic() - began
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
    sys.exit(f"{envelope_id} does not answer: {envelope('explain', NAME)}")


def build_s(settings: Settings, runtime_env: dict[str, Any]) -> float:
    """Return what a task waits for in a new environment that it does not in one that is there."""
    first = task_s(settings, runtime_env)
    # Other variables make it another runtime_env for Ray, with a worker of its own.
    again = task_s(settings, runtime_env | {"env_vars": {"AGAIN": "1"}})
    return first - again


def task_s(settings: Settings, runtime_env: dict[str, Any]) -> float:
    from ray_runtime.cluster import connect as join

    join(settings)
    import ray

    def look() -> str:
        import importlib.metadata

        return importlib.metadata.version("lark")

    began = time.monotonic()
    task = ray.remote(look).options(runtime_env=runtime_env, num_cpus=0.1)
    if ray.get(task.remote(), timeout=300) not in OTHERS:
        sys.exit("the task ran in another environment")
    return time.monotonic() - began


def rays_folders(settings: Settings) -> list[Path]:
    from ray_runtime.home import Home

    session = Home(settings.home).temp_dir / "session_latest"
    return list((session / "runtime_resources" / "uv").glob("*/"))


def new_disk(folder: Path) -> int:
    """Bytes on disk of what lies in a folder alone: folders, and files with no link elsewhere.

    Compiled files are left out: they come with the first import.
    """
    links: dict[int, int] = {}
    total = 0
    for stat in stats(folder):
        links[stat.st_ino] = links.get(stat.st_ino, 0) + 1
        if links[stat.st_ino] == stat.st_nlink:
            total += stat.st_blocks * 512
    return total + sum(path.stat().st_blocks * 512 for path in folder.rglob("*/"))


def stats(folder: Path) -> Iterator[os.stat_result]:
    for path, _, files in os.walk(folder):
        if not path.endswith("__pycache__"):
            yield from (os.lstat(os.path.join(path, name)) for name in files)


if __name__ == "__main__":
    main()
