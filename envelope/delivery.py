"""Asking for a deployment and waiting for it. The controller makes it; here the wish is written."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from envelope.connection import Connection, connect
from envelope.deployment_names import check_deployment_name
from envelope.errors import ClusterError

if TYPE_CHECKING:
    from envelope.handle import Envelope
    from envelope.registry import ReleaseRow

CONTROLLER_SILENT_AFTER = timedelta(seconds=15)  # it beats every few seconds
LOOK_AGAIN_S = 5.0  # also when no change was announced
ENDED_WITHOUT = frozenset({"held", "rejected", "failed", "rolled_back", "removed", "retired"})


class NoControllerWarning(UserWarning):
    """A release was asked for, and no controller has been seen lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One envelope on one deployment, as it was when this was read; `refresh` reads it again.

    state: candidate, gated, starting, live, retired, held, rejected, failed, rolled_back, removed.
    reason: why it is in that state.
    """

    id: str
    deployment: str
    envelope_id: str
    state: str
    reason: str
    created_at: datetime
    live_at: datetime | None
    _connection: Connection

    def __repr__(self) -> str:
        return f"<Release {self.id} of {self.envelope_id} on {self.deployment}: {self.state}>"

    def refresh(self) -> Release:
        """Return the release as it is now."""
        return _release(self._connection, self._connection.registry.release(self.id))

    def wait(self, timeout_s: float = 600.0) -> Release:
        """Wait until the release is live, and return it as it is then.

        Raises ClusterError with the reason when it ends otherwise, or is not live in time.
        """
        ends_at = time.monotonic() + timeout_s
        registry = self._connection.registry
        while True:
            seen = registry.last_change()
            release = self.refresh()
            if release.live_at is not None:
                return release
            if release.state in ENDED_WITHOUT:
                raise ClusterError(
                    f"release {self.id} of {self.envelope_id} on {self.deployment} is "
                    f"{release.state}: {release.reason}; see `envelope explain {self.deployment}`"
                )
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                raise ClusterError(
                    f"release {self.id} on {self.deployment} is not live after {timeout_s:g} s: "
                    f"it is {release.state} ({release.reason})"
                    f"{controller_silence(self._connection)}; see "
                    f"`envelope explain {self.deployment}`"
                )
            registry.wait_for_change(seen, min(left_s, LOOK_AGAIN_S))


def deploy(envelope: Envelope | str, *, to: str, until: datetime | None = None) -> Release:
    """Ask for an envelope to be served at `/<to>`, whatever the rules say, until it is unpinned.

    envelope: an envelope, its id or a unique prefix. until: when the rules decide again; aware.
    Returns at once; `.wait()` waits for it to be live. Warns when no controller has been seen.
    Raises ModelNotFound; ConfigError for a name that no deployment can have.
    """
    connection = connect()
    check_deployment_name(to)
    wanted = envelope if isinstance(envelope, str) else envelope.id
    envelope_id = connection.registry.envelope(wanted).id
    row = connection.registry.request_deploy(to, envelope_id, actor=connection.actor, until=until)
    if silence := controller_silence(connection):
        warnings.warn(f"the release waits{silence}", NoControllerWarning, stacklevel=2)
    return _release(connection, row)


def controller_silence(connection: Connection) -> str:
    """Say that no controller is at work; empty when one is."""
    beat = connection.registry.last_beat()
    if beat is None:
        return ": no controller was ever seen at this registry; start one with `envelope up`"
    age = datetime.now(UTC) - beat
    if age > CONTROLLER_SILENT_AFTER:
        return (
            f": no controller was seen for {age.total_seconds():.0f} s; look with "
            "`envelope status`, start one with `envelope up`"
        )
    return ""


def _release(connection: Connection, row: ReleaseRow) -> Release:
    return Release(
        id=row.id,
        deployment=row.deployment,
        envelope_id=row.envelope_id,
        state=row.state,
        reason=row.reason,
        created_at=row.created_at,
        live_at=row.live_at,
        _connection=connection,
    )
