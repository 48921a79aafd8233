"""`envelope env`: the variables with which Ray's own commands do what we rely on."""

from __future__ import annotations

import shlex

import click

from envelope.errors import ClusterError
from envelope.settings import Settings


def add_commands(group: click.Group) -> None:
    """Add the command of this module."""
    group.add_command(env)


@click.command()
@click.option("--node", is_flag=True, help="For `ray start` on a node of a cluster of yours.")
def env(node: bool) -> None:
    """Print what lets Ray's own commands reach the platform: eval "$(envelope env)".

    With --node, what a node has to be started with: eval "$(envelope env --node)"; ray start ...
    """
    for name, value in (node_variables() if node else variables(Settings.read())).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def node_variables() -> dict[str, str]:
    """Return the variables of `ray start` on each node of a cluster that is not a local platform.

    The token is the one that Ray looks for itself, in ~/.ray/auth_token.
    """
    from ray_runtime.flags import NODE_FLAGS

    return NODE_FLAGS | {"RAY_AUTH_MODE": "token"}


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
