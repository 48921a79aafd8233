"""How a column is read and written: what every kind of column has in common.

A *cell* is what a column holds per row between reading and building: a plain Python value, or an
integer for moments (count of their unit), durations and categories (code of the level); None for
null. Cells are checked when a request is read, and made an array once per shared call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from envelope.schema import types as t
from envelope.schema.faults import Faults, Reader
from envelope.schema.scalars import is_null
from envelope.schema.words import Path

Cells = Sequence[Any]


class Uncarried(Exception):
    """A value that JSON cannot hold: infinity, or NaN beside null. The words name it."""


class NotPlain(Exception):
    """The fast way does not apply; the slow one accepts the cells or finds their faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCodec:
    """How one column is read and written.

    wire: the msgspec type of one cell as JSON has it. is_text: its JSON is a string.
    parse: JSON cells -> cells; None when they are the same. Raises NotPlain.
    read: any value -> cell, with faults.
    build: cells -> array. block: the numpy dtype of the 2-D block that such columns share.
    write: array -> JSON cells; NaN stays NaN, which the encoder writes as null. Raises Uncarried.
    dtype: what a Series of it has.
    """

    column: t.Column
    dtype: Any
    wire: Any
    is_text: bool | None
    parse: Callable[[Cells], Cells] | None
    read: Reader
    build: Callable[[Cells], Any]
    write: Callable[[Any], list[Any]]
    block: str | None = None

    @property
    def label(self) -> str:
        """The member name of the column in JSON."""
        return str(self.column.name)


def nullable(read: Reader) -> Reader:
    """Return a reader that takes null too."""

    def read_or_null(value: Any, path: Path, faults: Faults) -> Any:
        return None if is_null(value) else read(value, path, faults)

    return read_or_null


def each(read: Reader) -> Callable[[Cells], Cells]:
    """Return a parser that reads cell by cell, for columns that need more than a type check.

    Nulls are for `read` to judge, see `nullable`.
    """

    def parse(cells: Cells) -> Cells:
        faults = Faults()
        parsed = [read(cell, None, faults) for cell in cells]
        if faults.found:
            raise NotPlain
        return parsed

    return parse
