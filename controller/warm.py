"""What was live before, kept running for a while, so that going back to it takes no start.

While a release takes the place of the live one, what is live is started once more beside it, as
the application `<deployment>--previous` without a URL. A rollback to it sends it all queries at
once; it answers them until it is back at the URL itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.state import Action, App, DeleteApp, Deploy, Observed, Release, Wanted
from ray_runtime.traffic import Split

WARM = "/warm"  # ends the key of a split to what is warm
SETTLES = timedelta(seconds=35)  # Serve keeps an old replica reachable for 30 s


def keep(
    name: str, current: Release | None, live: Release | None, seen: Observed, now: datetime
) -> list[Action]:
    """Start what is about to be replaced once more, and end it when its time is over."""
    app = seen.previous
    if live is not None and _is_replaced(current, live):
        is_there = app is not None and (app.version == live.version or app.status == "deleting")
        if live.version is None or is_there:
            return []
        return [Deploy(deployment=name, release_id=live.id, slot="previous")]
    if app is None or app.status == "deleting" or _is_needed(app, live, seen, now):
        return []
    return [DeleteApp(deployment=name, slot="previous", reason="it is not kept warm any more")]


def _is_replaced(current: Release | None, live: Release) -> bool:
    """Whether another envelope is about to take the place of what is live, and may be regretted."""
    is_other = current is not None and current.envelope_id != live.envelope_id
    is_starting = current is not None and current.state == "starting"
    keeps = current is not None and current.keep_warm_s > 0
    return is_other and is_starting and keeps and live.rollback is None


def _is_needed(app: App, live: Release | None, seen: Observed, now: datetime) -> bool:
    """Whether it may be gone back to, or is being gone back to."""
    if live is None or app.status == "failed":
        return False
    if app.envelope_id == live.envelope_id:
        return _is_settling(live, seen, now)
    return live.rollback is not None or now < live.live_at + timedelta(seconds=live.keep_warm_s)


def _is_settling(live: Release, seen: Observed, now: datetime) -> bool:
    """Whether what was gone back to is at the URL again, but its predecessor may be as well."""
    split = seen.traffic.split
    is_warm = split is not None and split.key.endswith(WARM)
    return is_warm and now < live.live_at + SETTLES


def split(
    name: str, live: Release | None, wanted: Wanted | None, seen: Observed, now: datetime
) -> Split | None:
    """All queries to what is warm, while what is live is being rolled back to it.

    And a while longer: what was rolled back would answer those that still reach it.
    """
    app = seen.previous
    if live is None or wanted is None or app is None:
        return None
    if app.envelope_id == live.envelope_id and _is_settling(live, seen, now):
        return seen.traffic.split
    if live.rollback is None:
        return None
    if app.status != "running" or app.envelope_id != wanted.envelope_id:
        return None
    return Split(key=f"{live.id}{WARM}", application=f"{name}--previous", percent=100)
