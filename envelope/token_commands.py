"""`envelope token` and `envelope audit`: who may ask a registry server, and who changed what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from envelope.registry import Change, Registry

DEFAULT_LIMIT = 50
PAGE = 1000  # changes asked for at once
CREATE_ROLES = ("viewer", "author", "deployer", "admin")


@click.group()
def token() -> None:
    """Tokens of the registry server, for ENVELOPE_AUTH=tokens."""


@token.command()
@click.argument("holder")
@click.option("--role", type=click.Choice(CREATE_ROLES), default="viewer", show_default=True)
def create(holder: str, role: str) -> None:
    """Make a token for HOLDER, who is the actor of what is changed with it.

    It is printed this once; only its hash is kept.
    """
    from envelope.connection import connect
    from envelope.registry.tokens import ROLES

    connection = connect()
    known = next(each for each in ROLES if each == role)
    made = connection.registry.create_token(holder, known, actor=connection.actor)
    click.echo(f"token {made.token.id} for {holder}, {role}; set it as ENVELOPE_TOKEN", err=True)
    click.echo(made.secret)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_(as_json: bool) -> None:
    """List every token, without its secret."""
    import msgspec

    from envelope.connection import connect

    for each in connect().registry.tokens():
        if as_json:
            click.echo(msgspec.json.encode(each).decode())
            continue
        end = f"  revoked {each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else ""
        click.echo(f"{each.id}  {each.role:8}  {each.created_at:%Y-%m-%d}  {each.holder}{end}")


@token.command()
@click.argument("token_id", metavar="ID")
def revoke(token_id: str) -> None:
    """Let the token of this id count no longer, at once."""
    from envelope.connection import connect

    connection = connect()
    connection.registry.revoke_token(token_id, actor=connection.actor)
    click.echo(f"token {token_id} counts no longer")


@click.command()
@click.option("--after", default=0, show_default=True, help="Number of a change.")
@click.option("--limit", default=DEFAULT_LIMIT, show_default=True, help="The newest; 0 is all.")
@click.option("--actor", help="Only what this one changed.")
@click.option("--kind", help="Only what was changed of these: rule, tag, token, ...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def audit(after: int, limit: int, actor: str | None, kind: str | None, as_json: bool) -> None:
    """List who changed what, when, from which value to which, oldest first."""
    import msgspec

    from envelope.connection import connect

    newest_first = _newest_first(connect().registry, actor, kind)
    wanted = takewhile(lambda each: each.seq > after, newest_first)
    for each in reversed(list(islice(wanted, limit or None))):
        if as_json:
            click.echo(msgspec.json.encode(each).decode())
            continue
        detail = json.dumps(each.detail, ensure_ascii=False) if each.detail else ""
        click.echo(
            f"{each.seq:6}  {each.at:%Y-%m-%d %H:%M:%S}  {each.actor}  {each.kind} {each.key}  "
            f"{detail}".rstrip()
        )


def _newest_first(registry: Registry, actor: str | None, kind: str | None) -> Iterator[Change]:
    before: int | None = None
    while page := registry.recent_changes(by=actor, kind=kind, before=before, limit=PAGE):
        yield from page
        before = page[-1].seq
