"""Tokens of the registry server: who holds one, and what it may do. Only hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import insert, select, update

from envelope.errors import ConfigError, ModelNotFound
from envelope.registry.changes import Writer
from envelope.registry.engine import Database
from envelope.registry.tables import tokens
from envelope.registry.text import check_text

# Each may do what those before it may.
Role = Literal["viewer", "author", "deployer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

PREFIX = "envelope_"  # so that a token is known for one where it lies by mistake
SECRET_BYTES = 32
ID_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, without its secret. holder: the actor of every change that is made with it."""

    id: str
    holder: str
    role: Role
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was made just now. secret: shown this once, for ENVELOPE_TOKEN."""

    secret: str
    token: Token


def allows(role: Role, needed: Role) -> bool:
    """Whether a role may do what another one is needed for."""
    return ROLES.index(role) >= ROLES.index(needed)


def create(writer: Writer, holder: str, role: Role) -> NewToken:
    """Make a token. Raises ConfigError for no holder or no such role."""
    check_text(holder, "the token's holder")
    if not holder.strip():
        raise ConfigError("the token's holder is empty; name who will use it")
    if role not in ROLES:
        raise ConfigError(f"there is no role {role!r}; use one of {', '.join(ROLES)}")
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    token = Token(
        id=secrets.token_hex(ID_BYTES),
        holder=holder,
        role=role,
        created_at=writer.now(),
        created_by=writer.actor,
    )
    row = {name: getattr(token, name) for name in Token.__dataclass_fields__}
    writer.connection.execute(insert(tokens).values(sha256=_hash(secret), **row))
    writer.note("token", token.id, token.created_at, holder=holder, role=[None, role])
    return NewToken(secret=secret, token=token)


def revoke(writer: Writer, token_id: str) -> None:
    """Let a token count no longer; one that was revoked before stays as it is.

    Raises ModelNotFound when there is none of this id.
    """
    query = select(tokens).where(tokens.c.id == token_id).with_for_update()
    row = writer.connection.execute(query).one_or_none()
    if row is None:
        raise ModelNotFound(f"there is no token {token_id!r}; `envelope token list` has them all")
    if row.revoked_at is not None:
        return
    now = writer.now()
    writer.connection.execute(
        update(tokens)
        .where(tokens.c.id == token_id)
        .values(revoked_at=now, revoked_by=writer.actor)
    )
    writer.note("token", token_id, now, holder=row.holder, role=[row.role, None])


def read_tokens(database: Database) -> list[Token]:
    """Every token, oldest first, also those that were revoked."""
    with database.reading() as connection:
        query = select(tokens).order_by(tokens.c.created_at, tokens.c.id)
        return [_token(row) for row in connection.execute(query)]


def find(database: Database, secret: str) -> Token | None:
    """The token of this secret; None when there is none, or it was revoked."""
    with database.reading() as connection:
        query = select(tokens).where(tokens.c.sha256 == _hash(secret))
        row = connection.execute(query.where(tokens.c.revoked_at.is_(None))).one_or_none()
        return None if row is None else _token(row)


def _token(row: Any) -> Token:
    return Token(**{name: getattr(row, name) for name in Token.__dataclass_fields__})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
