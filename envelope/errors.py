"""What can go wrong, as classes that say what the caller can do.

    EnvelopeError                  everything we raise on purpose
    ├── SchemaError                a value does not fit the function: change one of them
    ├── DependencyError            code cannot travel: install it, or pass it as modules=
    ├── SerializationError         the model cannot be written as bytes: change what it holds
    ├── StorageError               the store or the registry did not do its part: try again
    │   └── IntegrityError         stored bytes are not what was written: restore them
    ├── ModelNotFound              nothing matches: change the id or the query
    ├── QueryError                 the query cannot be understood: change the text at the column
    ├── ConfigError                a setting, YAML file or name is wrong: change it
    ├── ClusterError               Ray or Serve is not in the state that the call needs
    └── Deposed                    another controller leads by now: write nothing, stand by

Every message says what happened, where, and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_FAULTS = 100  # a frame of a million bad rows must not make an answer of a million lines


class EnvelopeError(Exception):
    """Base of every error that Model Envelope raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One place where a value does not fit its type. Never holds the value itself.

    path: `rows[3].age`, `x[2][0]`, or `` for the whole body.
    expected, got: type descriptions in the words of the docs, e.g. "int64" and "str".
    """

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path or 'body'}: expected {self.expected}, got {self.got}"


class SchemaError(EnvelopeError):
    """A value or a function that does not fit. `faults` lists every place (at most MAX_FAULTS)."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults[:MAX_FAULTS])
        lines = [message, *(f"  {fault}" for fault in self.faults)]
        super().__init__("\n".join(lines))
        self.summary = message


class DependencyError(EnvelopeError):
    """Code or a package that the model needs cannot be had where it will run."""


class EnvironmentBuildError(DependencyError):
    """An environment could not be built. `output`: the last lines that the resolver said."""

    def __init__(self, message: str, output: Iterable[str] = ()) -> None:
        self.output = tuple(output)
        super().__init__("\n".join([message, *(f"  {line}" for line in self.output)]))
        self.summary = message


class SerializationError(EnvelopeError):
    """The model cannot be written as bytes."""


class StorageError(EnvelopeError):
    """The store or the registry could not be read or written."""


class IntegrityError(StorageError):
    """Stored bytes differ from what was written."""


class ModelNotFound(EnvelopeError):
    """No envelope has this id, or none matches this query."""


class QueryError(EnvelopeError):
    """A query that cannot be understood. `column` counts from 1."""

    def __init__(self, message: str, *, query: str, column: int) -> None:
        self.query = query
        self.column = column
        super().__init__(f"{message} (column {column})\n  {query}\n  {' ' * (column - 1)}^")


class ConfigError(EnvelopeError):
    """A setting, a YAML file or a name that is wrong."""


class ClusterError(EnvelopeError):
    """Ray or Serve is not in the state that the call needs."""


class Deposed(EnvelopeError):
    """A controller that does not lead any more tried to write; nothing was written."""
