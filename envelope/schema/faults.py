"""Collecting faults: all of them at once, capped, never with the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from envelope.errors import MAX_FAULTS, Fault, SchemaError
from envelope.schema.words import Path, describe_value, show_path

BAD: Final = object()  # what a reader returns after it reported a fault


class TooManyFaults(Exception):
    """MAX_FAULTS were found; looking further would only make the answer slower."""


class Faults:
    """The faults of one call. widened: a value was taken that is of another, narrower type."""

    __slots__ = ("found", "widened")

    def __init__(self) -> None:
        self.found: list[Fault] = []
        self.widened = False

    def add(self, path: Path, expected: str, got: str) -> Any:
        """Report one fault and return BAD. Raises TooManyFaults when there are enough."""
        self.found.append(Fault(path=show_path(path), expected=expected, got=got))
        if len(self.found) >= MAX_FAULTS:
            raise TooManyFaults
        return BAD

    def add_value(self, path: Path, expected: str, value: Any) -> Any:
        """Report a value of another type."""
        return self.add(path, expected, describe_value(value))


# A closure that returns the value that the function expects, or BAD after it reported why not.
Reader = Callable[[Any, Path, Faults], Any]


def collect(read: Callable[[Faults], Any], what: str) -> Any:
    """Return what `read` returns; raise SchemaError with all faults when it reported any.

    what: the subject of the message, "the input does not fit the function".
    """
    faults = Faults()
    try:
        value = read(faults)
    except TooManyFaults:
        value = BAD
    except RecursionError:
        faults.found.append(Fault(path="", expected="fewer levels of nesting", got="too many"))
    if faults.found:
        count = len(faults.found)
        more = f"at least {count}" if count >= MAX_FAULTS else str(count)
        raise SchemaError(f"{what}: {more} fault{'s' if count > 1 else ''}", faults.found)
    return value
