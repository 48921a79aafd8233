"""The one place that says how queries are split: a detached actor, written by the controller.

A replica waits there for a change, which reaches it in milliseconds, and tells what it has counted.
Serve's own `user_config` would take replicas out of routing. Where nothing was ever split there
is no actor, and a replica only looks for it once a second, on a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError

from envelope.errors import ClusterError
from ray_runtime.traffic import Split, Tally, Traffic, total

NAME = "envelope-shares"
NAMESPACE = "envelope"
WAIT_S = 20.0  # one question waits so long for a change
LOOK_S = 1.0  # between looks for the actor, and reports to it
ANSWER_S = 5.0  # it answers in a millisecond
WAITERS = 10_000  # replicas that wait at once

log = logging.getLogger(__name__)


class Shares:
    """The actor. It loses all when it dies; the controller then says it again."""

    def __init__(self) -> None:
        self._splits: dict[str, Split] = {}
        self._tallies: dict[str, dict[str, Tally]] = {}
        self._countings: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def put(self, splits: Mapping[str, Split | None]) -> None:
        """Split the queries of these deployments so from now on; None: not at all."""
        for deployment, split in splits.items():
            before = self._splits.get(deployment)
            if split is None:
                self._splits.pop(deployment, None)
            else:
                self._splits[deployment] = split
            if split is None or before is None or before.key != split.key:
                self._tallies.pop(deployment, None)
                self._countings[deployment] = uuid4().hex
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, deployment: str, known: Split | None) -> Split | None:
        """Return the split of a deployment as soon as it is another, or the same after WAIT_S."""
        try:
            async with asyncio.timeout(WAIT_S):
                while self._splits.get(deployment) == known:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._splits.get(deployment)

    async def report(self, deployment: str, key: str, replica: str, tally: Tally) -> None:
        """Take what a replica has counted since the split with this key began; late ones drop."""
        split = self._splits.get(deployment)
        if split is not None and split.key == key:
            self._tallies.setdefault(deployment, {})[replica] = tally

    async def read(self) -> dict[str, Traffic]:
        """Every split that there is, with what all replicas have counted."""
        return {
            name: Traffic(
                split=split,
                tally=total(self._tallies.get(name, {}).values()),
                counting=self._countings[name],
            )
            for name, split in self._splits.items()
        }


# --- the controller's side


def start_shares() -> Any:
    """Start the actor, if there is none: before it is needed, since its process takes a second."""
    options = {"namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    limits = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": WAITERS}
    return _find() or ray.remote(Shares).options(name=NAME, **options, **limits).remote()


def put_splits(splits: Mapping[str, Split | None]) -> None:
    """Say how queries are split. Raises ClusterError when the cluster does not do it."""
    if not any(splits.values()) and _find() is None:
        return
    try:
        ray.get(start_shares().put.remote(dict(splits)), timeout=60)
    except RayError as exc:
        raise ClusterError(f"the shares cannot be set: {exc}; look with `envelope status`") from exc


def read_traffic() -> dict[str, Traffic]:
    """Every split that there is; {} where nothing was ever split. Raises ClusterError."""
    actor = _find()
    if actor is None:
        return {}
    try:
        found: dict[str, Traffic] = ray.get(actor.read.remote(), timeout=ANSWER_S)
    except RayError as exc:
        raise ClusterError(
            f"the shares cannot be read: {exc}; look with `envelope status`"
        ) from exc
    return found


def _find() -> Any | None:
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        return None


# --- a replica's side


async def follow(deployment: str, change: Callable[[Split | None], None]) -> None:
    """Call `change` with each new split of a deployment, for ever. Runs on the replica's loop."""
    known: Split | None = None
    while True:
        try:
            actor = await asyncio.to_thread(_find)
            while actor is not None:
                found = await actor.wait.remote(deployment, known)
                if found != known:
                    known = found
                    change(found)
        except RayError as exc:  # it died, or its node did; the controller says it all again
            log.warning("shares are not known now: %s", exc)
            if known is not None:
                known = None
                change(None)
        await asyncio.sleep(LOOK_S)


async def report(deployment: str, key: str, replica: str, read: Callable[[], Tally]) -> None:
    """Tell once a second what was counted under a key, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            actor = await asyncio.to_thread(_find)
            if actor is not None:
                await actor.report.remote(deployment, key, replica, read())
        except RayError as exc:
            log.warning("counts are not told now: %s", exc)
