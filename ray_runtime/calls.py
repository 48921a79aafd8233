"""Making one call of a function, or one for many callers, on whichever thread this runs.

Everything here is synchronous and knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from ray_runtime.protocols.problem import ClientGone, ModelFailed, RequestError

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

Function: TypeAlias = Callable[..., Any]
BodyBytes: TypeAlias = bytes | memoryview  # a large one lies where the socket's bytes were read to


Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[Answer]):
    """How one format goes into a function and comes out of it, both checked.

    name: of how answers are written; callers of one name share calls. media_type: of the answer.
    read: body -> call; raises SchemaError. write: output, call -> answer. write_each: the output of
    a shared call -> the answer of each caller; None where the format cannot share.
    """

    name: str
    media_type: bytes
    read: Callable[[BodyBytes], Call]
    write: Callable[[Any, Call], Answer]
    write_each: Callable[[Any, Sequence[Call]], list[Answer]] | None = None


def call_alone(function: Function, call: Call, codec: Codec[Answer]) -> Answer:
    """Call the function for one caller and write its answer. Raises ModelFailed."""
    try:
        output = function(**call.arguments())
    except Exception as exc:  # a model raises what it likes
        raise ModelFailed("the model raised") from exc
    return write_checked(output, call, codec)


def write_checked(output: Any, call: Call, codec: Codec[Answer]) -> Answer:
    """Write an output. Raises ModelFailed when it is not what the schema says, NotAcceptable."""
    try:
        return codec.write(output, call)
    except RequestError:
        raise
    except Exception as exc:
        raise ModelFailed("the model answered what its schema does not allow") from exc


def read_and_call(
    function: Function, body: BodyBytes, codec: Codec[Answer], is_gone: Callable[[], bool]
) -> Answer:
    """Read a body, call the function and write its answer: what one thread does for one caller.

    Raises SchemaError for the body, ModelFailed for the model, ClientGone without calling it.
    """
    if is_gone():
        raise ClientGone("the connection was closed while the request waited")
    return call_alone(function, codec.read(body), codec)


def call_together(
    function: Function, checker: Checker, calls: Sequence[Call], codec: Codec[Answer]
) -> list[Answer | Exception]:
    """Call a row-wise function once for all callers, and give each the answer to its own rows.

    If that fails the callers are halved until whoever made it fail stands alone: the others get
    their answers. Returns an answer or a ModelFailed for each, in order.
    """
    if len(calls) == 1:
        try:
            return [call_alone(function, calls[0], codec)]
        except (ModelFailed, RequestError) as exc:
            return [exc]
    assert codec.write_each is not None
    with suppress(Exception):  # whoever caused it gets it below, alone
        return list(codec.write_each(function(**checker.join(calls)), calls))
    half = len(calls) // 2
    return [
        *call_together(function, checker, calls[:half], codec),
        *call_together(function, checker, calls[half:], codec),
    ]
