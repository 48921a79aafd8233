"""`envelope up`, `down` and `status`: the local platform, started, ended and looked at."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envelope.settings import Settings

CONTROLLER_TIMEOUT_S = 30.0  # it takes 1 s; a loaded machine several times that
PAGES_TIMEOUT_S = 5.0
TAIL_LINES = 12

if TYPE_CHECKING:
    from controller.making import Place
    from envelope.registry import ControllerRow, Lease, ReleaseRow
    from ray_runtime.cluster import ClusterStatus


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    for command in (up, down, show_status, ui, run_controller):
        group.add_command(command)


@click.command()
def up() -> None:
    """Start the local platform: Ray, Serve and the controller.

    With RAY_ADDRESS set, only the controller is started, for that cluster.
    """
    from controller import supervisor
    from ray_runtime import cluster
    from ray_runtime.home import Home

    settings = Settings.read()
    begun = time.monotonic()
    was_running = cluster.status(settings).state == "running"
    if cluster.is_own(settings, Home(settings.home)):
        cluster.start(settings, report=click.echo)
    if supervisor.start(settings):
        _wait_for_controller(settings)
        click.echo(f"controller started, its log is {supervisor.log_path(settings)}")
    elif was_running:
        click.echo("the platform was up already; nothing was started")
    now = cluster.status(settings)
    for what, where in now.urls.items():
        click.echo(f"{what:<11} {where}")
    click.echo(
        f"up in {time.monotonic() - begun:.1f} s; `envelope status` looks, `envelope down` ends"
    )


@click.command()
def down() -> None:
    """End everything that `up` started, also after a crash. Other Ray clusters live on."""
    from ray_runtime import cluster

    begun = time.monotonic()
    ended = cluster.stop(Settings.read())
    if ended:
        click.echo(f"ended {ended} processes in {time.monotonic() - begun:.1f} s")
    else:
        click.echo("nothing was running")


@click.command()
@click.option("--print", "is_printing", is_flag=True, help="Only say where, and open nothing.")
def ui(is_printing: bool) -> None:
    """Open the registry's pages: models, deployments, rules, metrics.

    Exit status 1 when no controller serves them.
    """
    import webbrowser
    from http.client import HTTPException
    from urllib.request import urlopen

    from envelope.errors import ClusterError
    from ray_runtime.cluster import pages_url

    url = pages_url(Settings.read())
    try:
        urlopen(f"{url}/static/icon.svg", timeout=PAGES_TIMEOUT_S).close()
    except (OSError, HTTPException) as exc:
        raise ClusterError(
            f"nothing answers at {url} ({exc}); `envelope up` starts the controller, which serves "
            "the pages"
        ) from exc
    click.echo(url)
    if not is_printing:
        webbrowser.open(url)


@click.command("controller")
@click.option(
    "--api",
    metavar="HOST:PORT|none",
    help="Where the pages and the API are served; none: nowhere. Default: ENVELOPE_API_HOST and "
    "ENVELOPE_API_PORT.",
)
def run_controller(api: str | None) -> None:
    """Run a controller here until SIGTERM, as a container or a service manager does.

    `envelope up` starts one in the background, and starts it again when it dies.
    """
    from controller.__main__ import main

    if api == "none":
        sys.exit(main(has_pages=False))
    address = {} if api is None else _address(api)
    sys.exit(main(Settings.read(os.environ | address)))


def _address(text: str) -> dict[str, str]:
    """Return the variables that say HOST:PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port:
        raise click.UsageError(f"--api {text!r}: use HOST:PORT, such as 127.0.0.1:8080, or none")
    return {"ENVELOPE_API_HOST": host.strip("[]"), "ENVELOPE_API_PORT": port}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_status(as_json: bool) -> None:
    """Show what runs, what listens where, and whether the controller works.

    Exit status 1 when the platform is not running as it should.
    """
    from controller.making import describe_place, place_record
    from ray_runtime import cluster

    settings = Settings.read()
    found = cluster.status(settings)
    overdue, unmade = _overdue(settings), _unmade(settings)
    seen_s, (leader, standbys) = _last_beat_s(settings), _leadership(settings)
    if as_json:
        record = asdict(found) | {
            "controller_seen_s": seen_s,
            "leader": asdict(leader) if leader else None,
            "standbys": [asdict(each) for each in standbys],
            "overdue": overdue,
            "not_made": [place_record(place) for place in unmade],
        }
        click.echo(json.dumps(record, default=str, indent=2))
    else:
        _print_status(found, seen_s)
        for line in describe_leadership(leader, standbys):
            click.echo(line)
        for name, reason in overdue.items():
            click.echo(f"overdue     {name}: {reason}")
        for place in unmade:
            click.echo(f"not made    rule {place.rule.name}: {describe_place(place)}")
        _print_listeners(found)
    sys.exit(0 if found.state in ("running", "remote") and found.controller else 1)


def _print_status(found: ClusterStatus, seen_s: float | None) -> None:
    click.echo(f"platform    {found.state} ({found.home})")
    if found.missing:
        click.echo(f"            without {', '.join(found.missing)}; `envelope up` starts it anew")
    if found.address:
        since = f", since {found.started_at:%Y-%m-%d %H:%M:%S} UTC" if found.started_at else ""
        click.echo(f"ray         {found.address}{since}")
    seen = "never seen" if seen_s is None else f"seen {seen_s:.0f} s ago"
    click.echo(f"controller  {'running' if found.controller else 'not running'}, {seen}")
    for what, where in found.urls.items():
        click.echo(f"{what:<11} {where}")


def describe_leadership(leader: Lease | None, standbys: Sequence[ControllerRow]) -> list[str]:
    """Say who leads and who stands by, a line each; [] where no controller ever led."""
    if leader is None:
        return []
    who = f"{leader.host} (pid {leader.pid}), epoch {leader.epoch}"
    lost = f"nobody; {who} led until {-leader.left_s:.0f} s ago"
    return [
        f"leader      {who if leader.is_held else lost}",
        *(
            f"standby     {each.host} (pid {each.pid}), seen {each.seen_s:.0f} s ago"
            for each in standbys
        ),
    ]


def _print_listeners(found: ClusterStatus) -> None:
    if found.listeners:
        click.echo("listening   * is every interface: Ray's ask for a token, HAProxy's do not")
    for listener in found.listeners:
        click.echo(f"  {listener.host:>15}:{listener.port:<6} {listener.what} (pid {listener.pid})")


def _wait_for_controller(settings: Settings) -> None:
    """Wait until the controller is at work. Raises ClusterError with its last words if it is not.

    A registry that it cannot use is such a reason.
    """
    from controller import supervisor
    from envelope.errors import ClusterError

    begun = time.monotonic()
    while (waited_s := time.monotonic() - begun) < CONTROLLER_TIMEOUT_S:
        seen_s = _last_beat_s(settings)
        if seen_s is not None and seen_s < waited_s:
            return
        time.sleep(0.1)
    log = supervisor.log_path(settings)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    raise ClusterError(
        f"the controller has not begun to work within {CONTROLLER_TIMEOUT_S:.0f} s; it is started "
        f"again and again. The end of {log}:\n{tail}"
    )


def _overdue(settings: Settings) -> dict[str, str]:
    """Return why each deployment is overdue whose live envelope is older than its max_age."""
    from datetime import UTC, datetime

    from controller.explain import alarm_of
    from controller.view import live_row
    from envelope.connection import connect
    from envelope.errors import EnvelopeError

    if not _has_registry(settings):
        return {}
    try:
        registry, now = connect(settings).registry, datetime.now(UTC)
        opened = registry.releases(open_only=True)
        alarms = {
            row.name: alarm_of(registry, row, live_row(_of(opened, row.name)), now)
            for row in registry.deployments()
        }
    except EnvelopeError:  # said above: the controller was never seen
        return {}
    return {name: reason for name, reason in alarms.items() if reason is not None}


def _unmade(settings: Settings) -> list[Place]:
    """Return what templates make no deployment of, though a match has it."""
    from controller.making import unmade
    from envelope.connection import connect
    from envelope.errors import EnvelopeError

    if not _has_registry(settings):
        return []
    try:
        return unmade(connect(settings).registry)
    except EnvelopeError:  # said above: the controller was never seen
        return []


def _of(releases: Sequence[ReleaseRow], deployment: str) -> list[ReleaseRow]:
    return [each for each in releases if each.deployment == deployment]


def _leadership(settings: Settings) -> tuple[Lease | None, list[ControllerRow]]:
    """Who leads, and which other controllers are alive; nobody where it cannot be known."""
    from envelope.connection import connect
    from envelope.delivery import CONTROLLER_SILENT_AFTER
    from envelope.errors import EnvelopeError

    if not _has_registry(settings):
        return None, []
    try:
        registry = connect(settings).registry
        leader = registry.lease()
        alive = registry.controllers(CONTROLLER_SILENT_AFTER.total_seconds())
    except EnvelopeError:
        return None, []
    itself = (leader.host, leader.pid) if leader else None
    return leader, [each for each in alive if (each.host, each.pid) != itself]


def _has_registry(settings: Settings) -> bool:
    """Looking creates nothing."""
    scheme, _, path = settings.registry_url.partition(":///")
    return scheme != "sqlite" or Path(path).exists()


def _last_beat_s(settings: Settings) -> float | None:
    """Return how many seconds ago a controller was last seen; None when never, or unknown."""
    from datetime import UTC, datetime

    from envelope.connection import connect
    from envelope.errors import EnvelopeError

    if not _has_registry(settings):
        return None
    try:
        beat = connect(settings).registry.last_beat()
    except EnvelopeError:
        return None
    return None if beat is None else (datetime.now(UTC) - beat).total_seconds()
