"""`envelope env`: the variables with which Ray's own commands reach the local platform."""

from __future__ import annotations

import shlex

import click

from envelope.errors import ClusterError
from envelope.settings import Settings


def add_commands(group: click.Group) -> None:
    """Add the command of this module."""
    group.add_command(env)


@click.command()
def env() -> None:
    """Print what lets Ray's own commands reach the platform: eval "$(envelope env)"."""
    for name, value in variables(Settings.read()).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def variables(settings: Settings) -> dict[str, str]:
    """Return the variables of a shell that uses this home's cluster.

    Raises ClusterError when it does not run.
    """
    from ray_runtime.flags import token_flags
    from ray_runtime.home import Home

    home = Home(settings.home)
    record = home.read_record()
    if record is None:
        raise ClusterError(f"no cluster runs for {settings.home}; run `envelope up`")
    return {
        "ENVELOPE_HOME": str(settings.home),
        "RAY_ADDRESS": record.address,
        "RAY_API_SERVER_ADDRESS": record.job_url,
        **token_flags(home.token),
    }
