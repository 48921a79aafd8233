"""What a replica answers when it cannot answer: problem details (RFC 9457), one status per cause.

`problem_of` is the one place that maps errors to HTTP statuses. A problem never holds the caller's
data nor a traceback: a 500 carries an error id, and the replica's log has the traceback under it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from envelope.errors import EnvelopeError, Fault, SchemaError

MEDIA_TYPE = b"application/problem+json"
RETRY_AFTER_S = 1  # a full queue of quick calls is short again within a second


class FaultItem(msgspec.Struct, frozen=True):
    """One place in the body that does not fit. The same three words as `envelope.errors.Fault`."""

    path: str
    expected: str
    got: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error. type: a URN that docs/serving.md lists. faults: 400 only."""

    type: str
    title: str
    status: int
    detail: str
    faults: tuple[FaultItem, ...] = ()
    error_id: str | None = None


class RequestError(EnvelopeError):
    """A request that is not answered with a model's output, and why. detail: with the remedy."""

    status: HTTPStatus
    kind: str
    title: str

    def __init__(self, detail: str, *, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = tuple(headers)


class Malformed(RequestError):
    """The bytes are not what their Content-Type says, or the request itself is wrong."""

    status, kind, title = HTTPStatus.BAD_REQUEST, "malformed", "The request cannot be read"


class NotFound(RequestError):
    """No such route, function, model or version."""

    status, kind, title = HTTPStatus.NOT_FOUND, "not-found", "There is nothing here"


class WrongMethod(RequestError):
    """The path is right, the method is not. The Allow header names those that are."""

    status, kind = HTTPStatus.METHOD_NOT_ALLOWED, "method"
    title = "The method is not allowed here"

    def __init__(self, detail: str, allowed: Sequence[str]) -> None:
        super().__init__(detail, headers=[(b"allow", ", ".join(allowed).encode())])


class NotAcceptable(RequestError):
    """The answer cannot be written in any format that `Accept` names."""

    status, kind = HTTPStatus.NOT_ACCEPTABLE, "not-acceptable"
    title = "No format that Accept names can be written"


class TooLarge(RequestError):
    """The body is larger than the deployment takes."""

    status, kind = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large"
    title = "The body is too large"

    def __init__(self, detail: str) -> None:
        # Otherwise a client that sends before it listens would be heard to the end.
        super().__init__(detail, headers=[(b"connection", b"close")])


class Unsupported(RequestError):
    """The body's Content-Type or Content-Encoding is none that is read here."""

    status, kind = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported"
    title = "The body's format is not read here"


class QueueFull(RequestError):
    """As many requests wait as may: the deployment's max_queue."""

    status, kind, title = HTTPStatus.TOO_MANY_REQUESTS, "busy", "Too many requests are waiting"

    def __init__(self, max_queue: int) -> None:
        super().__init__(
            f"{max_queue} requests wait already, which is the deployment's max_queue; try again "
            "later, or give the deployment more replicas",
            headers=[(b"retry-after", str(RETRY_AFTER_S).encode())],
        )


class TimedOut(RequestError):
    """No answer within the deployment's timeout_s."""

    status, kind, title = HTTPStatus.GATEWAY_TIMEOUT, "timeout", "The model took too long"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"there was no answer within {timeout_s:g} s, the deployment's timeout_s; send fewer "
            "rows at once, or raise timeout_s"
        )


class ClientGone(RequestError):
    """Whoever asked has closed the connection; nobody reads this."""

    status, kind = HTTPStatus.BAD_REQUEST, "gone"  # 499 is no status of the standard
    title = "The client closed the connection"


class ModelFailed(Exception):
    """The model raised, or answered what its schema does not allow; the cause is chained."""


def problem_of(error: Exception) -> Problem:
    """Return the problem that an error is. The only place that maps errors to statuses.

    What is nobody's mistake but the model's or ours is a 500 with a new error id: log it.
    """
    if isinstance(error, RequestError):
        return Problem(
            type=_urn(error.kind),
            title=error.title,
            status=int(error.status),
            detail=error.detail,
        )
    if isinstance(error, SchemaError):
        return Problem(
            type=_urn("schema"),
            title="The input does not fit the function",
            status=400,
            detail=error.summary,
            faults=fault_list(error.faults),
        )
    error_id = uuid.uuid4().hex
    is_model = isinstance(error, ModelFailed)
    return Problem(
        type=_urn("model" if is_model else "internal"),
        title="The model failed" if is_model else "The replica failed",
        status=500,
        detail=f"the replica's log says why, under error id {error_id}",
        error_id=error_id,
    )


def fault_list(faults: Sequence[Fault]) -> tuple[FaultItem, ...]:
    """Return faults as a problem carries them."""
    return tuple(FaultItem(fault.path, fault.expected, fault.got) for fault in faults)


def _urn(kind: str) -> str:
    return f"urn:model-envelope:problem:{kind}"
