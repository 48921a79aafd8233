"""Tells others what became of releases: one POST to a webhook for each, on a thread of its own.

It follows the registry's change feed like the loop does, and keeps its place in a file, so that
what happens while no controller runs is told by the next one. A receiver that is slow or away
holds up nothing but its own messages. The controller's log has the same events ("release moved").
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from envelope.errors import EnvelopeError
from envelope.registry import Change, Registry

LOOK_S = 1.0
PAGE = 200
TIMEOUT_S = 10.0
RETRY = Retry(
    total=6,
    backoff_factor=1.0,  # waits 0, 2, 4, 8, 16 and 32 s: about a minute in all
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,  # POST too: the receiver may get a message twice, never silently none
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to tell, and what: the states of releases. url: may hold a secret; it is not logged."""

    url: str
    states: frozenset[str]

    @property
    def name(self) -> str:
        """What it is called in logs and files."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:8]


class Notifier:
    """Follows the feed for one webhook, while this process leads.

    folder: where its place in the feed is kept. leads: whether it is this process that tells.
    """

    def __init__(
        self,
        registry: Registry,
        webhook: Webhook,
        folder: Path,
        *,
        leads: Callable[[], bool] = lambda: True,
        retry: Retry = RETRY,
    ) -> None:
        self._registry = registry
        self._webhook = webhook
        self._leads = leads
        self._place = folder / f"notified-{webhook.name}"
        self._http = urllib3.PoolManager(retries=retry, timeout=TIMEOUT_S)

    def start(self, stop: Event) -> Thread:
        """Run until `stop`, on a thread that does not keep the process."""
        thread = Thread(target=self.run, args=(stop,), name="notifier", daemon=True)
        thread.start()
        return thread

    def run(self, stop: Event) -> None:
        """Tell what happens until `stop`."""
        while not stop.wait(LOOK_S):
            try:
                self.catch_up()
            except (EnvelopeError, OSError) as exc:  # the registry, or the file
                log.warning("notifications wait", extra={"reason": str(exc)})

    def catch_up(self) -> None:
        """Tell all that has happened since the last time; a standby only keeps up with it.

        Raises StorageError, OSError.
        """
        changes = self._registry.changes(self._seen(), limit=PAGE)
        for change in changes:
            if _state(change) in self._webhook.states and self._leads():
                self._tell(message_of(self._registry, change))
            self._remember(change.seq)

    def _seen(self) -> int:
        try:
            return int(self._place.read_text())
        except (FileNotFoundError, ValueError):
            seen = self._registry.last_change()
            self._remember(seen)
            return seen

    def _remember(self, seq: int) -> None:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        new = self._place.with_suffix(".new")
        new.write_text(str(seq))
        os.replace(new, self._place)

    def _tell(self, message: Mapping[str, Any]) -> None:
        facts = {"webhook": self._webhook.name, "release": message["release"]}
        try:
            answer = self._http.request("POST", self._webhook.url, json=message)
        except HTTPError as exc:
            # Only its kind: the text holds the address.
            log.error("notification given up", extra=facts | {"reason": type(exc).__name__})
            return
        if answer.status >= 400:
            log.error("notification refused", extra=facts | {"status": answer.status})
        else:
            log.info("notification sent", extra=facts | {"status": answer.status})


def start_notifiers(
    registry: Registry,
    webhooks: Sequence[Webhook],
    folder: Path,
    stop: Event,
    *,
    leads: Callable[[], bool],
) -> None:
    """Follow the feed for each webhook until `stop`."""
    for webhook in webhooks:
        Notifier(registry, webhook, folder, leads=leads).start(stop)


def webhooks_of(urls: Sequence[str], states: Sequence[str]) -> Iterator[Webhook]:
    """The webhooks that are configured."""
    for url in urls:
        yield Webhook(url=url, states=frozenset(states))


def _state(change: Change) -> str | None:
    """The state that a release has come to; None for other changes."""
    if change.kind != "release" or change.detail is None:
        return None
    state: str = change.detail["state"][1]
    return state


def message_of(registry: Registry, change: Change) -> dict[str, Any]:
    """What is told of a release's change. text: all of it in one line, as chats want it."""
    release = registry.release(change.key)
    detail = change.detail or {}
    state, reason = detail["state"][1], detail.get("reason", "")
    return {
        "text": f"{release.deployment}: {release.envelope_id} is {state}: {reason}",
        "state": state,
        "before": detail["state"][0],
        "deployment": release.deployment,
        "envelope_id": release.envelope_id,
        "release": release.id,
        "reason": reason,
        "actor": change.actor,
        "at": change.at.isoformat(),
    }
