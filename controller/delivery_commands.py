"""What should run, by hand: deploy, undeploy, pin, unpin, rollback, allow, pause, resume."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import click

from controller.command_line import connect, find, parse_until, say_if_silent, url_of
from envelope.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from envelope.registry import Registry

WAIT_S = 600.0
LOOK_AGAIN_S = 2.0


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    for command in (deploy, undeploy, pin, unpin, rollback, allow, pause, resume):
        group.add_command(command)


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option("--to", "name", required=True, metavar="NAME", help="The deployment.")
@click.option("--until", metavar="TIME", help="When rules decide again: 8h, 3d, or a time.")
@click.option("--wait", "is_waiting", is_flag=True, help="Until it is live, or has failed.")
@click.option("--timeout", "timeout_s", default=WAIT_S, show_default=True, help="Of --wait, in s.")
def deploy(
    id_or_prefix: str, name: str, until: str | None, is_waiting: bool, timeout_s: float
) -> None:
    """Serve an envelope at /NAME and pin it there: rules wait until `envelope unpin NAME`."""
    from envelope import delivery

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", delivery.NoControllerWarning)  # said below, in one line
        release = delivery.deploy(id_or_prefix, to=name, until=parse_until(until))
    click.echo(f"release {release.id}: {release.envelope_id} to {name}")
    connection = connect()
    if not is_waiting:
        click.echo(
            f"look with `envelope releases {name}`; rules wait until `envelope unpin {name}`"
        )
        say_if_silent(connection)
        return
    _follow(connection.registry, release.id, timeout_s)
    click.echo(f"live at {url_of(connection, name)}")


@click.command()
@click.argument("name")
def undeploy(name: str) -> None:
    """Take /NAME away: it answers what it has begun, and its rules do nothing any more."""
    connection = connect()
    was_removed = find(connection.registry, name).is_removed
    connection.registry.request_undeploy(name, actor=connection.actor)
    if was_removed:
        click.echo(f"{name} is undeployed already")
    else:
        click.echo(
            f"{name} is being undeployed; `envelope apply` or `envelope deploy` brings it back"
        )
        say_if_silent(connection)


@click.command()
@click.argument("name")
@click.option("--until", metavar="TIME", help="When rules decide again: 8h, 3d, or a time.")
def pin(name: str, until: str | None) -> None:
    """Keep what is live at /NAME, whatever its rules say, until `envelope unpin NAME`."""
    connection = connect()
    find(connection.registry, name)
    live = [row for row in connection.registry.releases(name, open_only=True) if row.live_at]
    if not live:
        raise ConfigError(
            f"nothing is live on {name}, so there is nothing to keep; "
            f"`envelope deploy ID --to {name}` pins an envelope of your choice"
        )
    connection.registry.request_deploy(
        name, live[0].envelope_id, actor=connection.actor, until=parse_until(until)
    )
    click.echo(f"{name} is pinned to {live[0].envelope_id}; `envelope unpin {name}` ends it")


@click.command()
@click.argument("name")
def unpin(name: str) -> None:
    """Let the rules of NAME decide again."""
    connection = connect()
    was_pinned = find(connection.registry, name).pin_envelope_id
    connection.registry.unpin(name, actor=connection.actor)
    if was_pinned is None:
        click.echo(f"{name} was not pinned")
    else:
        click.echo(f"{name} is not pinned to {was_pinned} any more; its rules decide")


@click.command()
@click.argument("name")
@click.option("--to", metavar="RELEASE", help="An earlier release, see `envelope releases NAME`.")
@click.option("--reason", default="by hand", help="For the history.")
def rollback(name: str, to: str | None, reason: str) -> None:
    """Put /NAME back to what was live before, and keep what is live now off it.

    It stays off until `envelope allow`; newer envelopes still flow. A pin is taken off.
    """
    from controller.rollback import rollback_target
    from controller.view import live_row

    connection = connect()
    registry = connection.registry
    row, history = find(registry, name), registry.releases(name)
    live = live_row(history)
    if live is None:
        raise ConfigError(f"nothing is live on {name}, so there is nothing to roll back")
    target = rollback_target(live, history, registry.exclusions(name), to)
    registry.request_rollback(
        name,
        live.envelope_id,
        back_to=target.envelope_id,
        reason=reason,
        actor=connection.actor,
    )
    click.echo(f"{name} goes back from {live.envelope_id} to {target.envelope_id}")
    if row.pin_envelope_id is not None:
        click.echo(f"its pin to {row.pin_envelope_id} by {row.pinned_by} is taken off")
    click.echo(
        f"{live.envelope_id} stays off {name} until `envelope allow {live.envelope_id} --to "
        f"{name}`; newer envelopes still come"
    )
    say_if_silent(connection)


@click.command()
@click.argument("id_or_prefix", metavar="ID")
@click.option("--to", "name", required=True, metavar="NAME", help="The deployment.")
def allow(id_or_prefix: str, name: str) -> None:
    """Let an envelope that was rolled back at /NAME come back; rules decide whether it does."""
    connection = connect()
    envelope_id = connection.registry.envelope(id_or_prefix).id
    if connection.registry.allow(name, envelope_id, actor=connection.actor):
        click.echo(f"{envelope_id} is allowed on {name} again")
    else:
        click.echo(f"{envelope_id} was not rolled back on {name}")


@click.command()
@click.option("--all", "is_all", is_flag=True, required=True, help="Every rule. Needed.")
@click.option("--reason", default="by hand", help="For whoever asks.")
def pause(is_all: bool, reason: str) -> None:
    """Let no rule start anything, and stop what they have begun; what is live stays.

    What is asked for by hand (deploy, rollback, undeploy) still happens. `paused: true` in YAML
    pauses one rule.
    """
    connection = connect()
    if connection.registry.pause_all(reason, actor=connection.actor):
        click.echo("all rules are paused; `envelope resume` lets them decide again")
    else:
        click.echo("all rules are paused already")


@click.command()
def resume() -> None:
    """Let rules decide again after `envelope pause --all`."""
    connection = connect()
    if connection.registry.resume_all(actor=connection.actor):
        click.echo("rules decide again")
        say_if_silent(connection)
    else:
        click.echo("rules were not paused")


# --- waiting


def _follow(registry: Registry, release_id: str, timeout_s: float) -> None:
    """Print each state that a release comes to, until it is live.

    Raises ClusterError with the reason when it ends otherwise or takes too long.
    """
    began, shown = time.monotonic(), 0
    while True:
        seen = registry.last_change()
        release = registry.release(release_id)
        events = registry.release_events(release_id)  # read last: what ended it is among them
        for event in events[shown:]:
            click.echo(f"{time.monotonic() - began:6.1f} s  {event.to_state:<10} {event.reason}")
        shown = len(events)
        if release.live_at is not None:
            return
        see = f"see `envelope explain {release.deployment}`"
        if release.ended_at is not None or release.state == "held":
            raise ClusterError(f"release {release_id} is {release.state}; {see}")
        left_s = timeout_s - (time.monotonic() - began)
        if left_s <= 0:
            raise ClusterError(
                f"release {release_id} is {release.state}, not live, after {timeout_s:g} s; it "
                f"goes on without this command; {see}"
            )
        registry.wait_for_change(seen, min(left_s, LOOK_AGAIN_S))
