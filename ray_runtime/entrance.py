"""What stands at the door of a replica: its router, or a fork while queries are split."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import uuid4

from ray.serve.handle import DeploymentHandle

from ray_runtime.fork import Fork, Returned, Sent
from ray_runtime.protocols.http import Receive, Router, Scope, Send
from ray_runtime.scaling import Ongoing
from ray_runtime.shadow import Shadow
from ray_runtime.shares import follow, report
from ray_runtime.traffic import Split

log = logging.getLogger(__name__)


class Entrance:
    """The ASGI application of a replica. `app` is what answers now.

    While nothing is split that is the router itself, so that nothing is paid for what is not used.
    ongoing: counts what is being answered, where load decides how many replicas there are.
    """

    def __init__(
        self, router: Router, deployment: str, timeout_s: float, ongoing: Ongoing | None = None
    ) -> None:
        self.router = router
        self.ongoing = ongoing
        self.app: Any = self._counted(router)
        self._deployment = deployment
        self._timeout_s = timeout_s
        self._replica = uuid4().hex
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def follow(self) -> None:
        """Begin to do as the shares say. Call it on the loop."""
        following = follow(self._deployment, self.change)
        self._tasks["follow"] = asyncio.get_running_loop().create_task(following)

    def change(self, split: Split | None) -> None:
        """Split queries so from now on; those that have begun end as they began."""
        reporting = self._tasks.pop("report", None)
        if reporting is not None:
            reporting.cancel()
        if split is None:
            self.app = self._counted(self.router)
            log.info("all queries are answered here")
            return
        kind = Fork if split.mode == "send" else Shadow
        fork = kind(self.router, split, _asker(self._deployment, split), self._timeout_s)
        counts = report(self._deployment, split.key, self._replica, fork.counter.tally)
        self._tasks["report"] = asyncio.get_running_loop().create_task(counts)
        self.app = self._counted(fork)
        log.info("%g %% of the queries: %s to %s", split.percent, split.mode, split.application)

    def _counted(self, app: Router | Fork | Shadow) -> Any:
        return app if self.ongoing is None else self.ongoing.around(app)


def _asker(deployment: str, split: Split) -> Any:
    handle: Any = DeploymentHandle(deployment, split.application)
    asked = handle.options(method_name="answer_sent")  # finds the replicas now, not with a query

    async def ask(sent: Sent) -> Returned | None:
        found: Returned | None = await asked.remote(sent)
        return found

    return ask
