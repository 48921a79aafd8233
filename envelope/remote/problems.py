"""Errors as problem details (RFC 9457), and back as the very same errors.

`type` names the class, `detail` is its message word for word, `attributes` are its facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from envelope import errors
from envelope.errors import EnvelopeError, Fault
from envelope.registry import StaleRelease, StaleState
from envelope.registry.engine import Conflict

MEDIA_TYPE = "application/problem+json"


class NotAllowed(EnvelopeError):
    """The registry server does not let this caller do this."""


class NotAuthenticated(NotAllowed):
    """The registry server does not know who is asking."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error. type: a URN that docs/api.md lists. error_id: of a 500, in the log."""

    type: str
    title: str
    status: int
    detail: str
    attributes: dict[str, Any] = {}
    error_id: str | None = None


class Kind(msgspec.Struct, frozen=True):
    """What an error class is over HTTP."""

    name: str
    status: int
    title: str


# From the special to the general: the first that an error is an instance of counts.
KINDS: Mapping[type[EnvelopeError], Kind] = {
    errors.QueryError: Kind("query", 400, "The query cannot be understood"),
    errors.ModelNotFound: Kind("not-found", 404, "There is no such thing"),
    errors.ConfigError: Kind("config", 422, "A name or a value is wrong"),
    errors.SchemaError: Kind("schema", 422, "A value does not fit the function"),
    errors.SerializationError: Kind("serialization", 422, "It cannot be written as bytes"),
    errors.DependencyError: Kind("dependency", 422, "Code or a package cannot be had"),
    errors.ClusterError: Kind("cluster", 409, "The cluster is not in the state for this"),
    errors.IntegrityError: Kind("integrity", 500, "Stored bytes are not what was written"),
    Conflict: Kind("conflict", 409, "Another process wrote the same"),
    errors.StorageError: Kind("storage", 503, "The registry or the store did not do its part"),
    StaleRelease: Kind("stale-release", 409, "The release is in another state"),
    StaleState: Kind("stale-state", 409, "It was changed meanwhile"),
    NotAuthenticated: Kind("not-authenticated", 401, "A token is needed"),
    NotAllowed: Kind("not-allowed", 403, "This is not allowed to this token"),
    EnvelopeError: Kind("refused", 409, "This cannot be done"),
}
_CLASSES = {
    urn: cls
    for cls, urn in (
        (cls, f"urn:model-envelope:problem:{kind.name}") for cls, kind in KINDS.items()
    )
}
_ATTRIBUTES = ("query", "column", "summary", "faults", "output")


def problem_of(error: EnvelopeError, *, is_reading: bool) -> Problem:
    """Return the problem that an error is.

    is_reading: whether the request could change nothing; what cannot be read is not there.
    """
    kind = next(kind for cls, kind in KINDS.items() if isinstance(error, cls))
    status = kind.status
    if kind.name == "refused" and is_reading:
        status = 404
    if kind.name == "integrity" and not is_reading:
        status = 422  # what was sent is not what it says
    attributes = {name: getattr(error, name) for name in _ATTRIBUTES if hasattr(error, name)}
    return Problem(
        type=f"urn:model-envelope:problem:{kind.name}",
        title=kind.title,
        status=status,
        detail=str(error),
        attributes=msgspec.to_builtins(attributes),
    )


def error_of(problem: Problem) -> EnvelopeError | None:
    """Return the error that a problem was made of; None for a type that is not known here."""
    cls = _CLASSES.get(problem.type)
    if cls is None:
        return None
    error = cls.__new__(cls)  # its message is whole already: __init__ would put it together
    error.args = (problem.detail,)
    for name, value in problem.attributes.items():
        if name in _ATTRIBUTES:
            setattr(error, name, _attribute(name, value))
    return error


def _attribute(name: str, value: Any) -> Any:
    if name == "faults":
        return tuple(msgspec.convert(value, list[Fault]))
    return tuple(value) if isinstance(value, list) else value
