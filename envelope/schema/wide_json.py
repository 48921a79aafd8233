"""The fast way from a JSON body to the cells of a frame of very many columns, or odd labels."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec

from envelope.schema import types as t
from envelope.schema.calls import Call, Form, call_of_columns, call_of_rows
from envelope.schema.cells import ColumnCodec, NotPlain
from envelope.schema.frames import FrameCodec
from envelope.schema.json_body import require_no_duplicates
from envelope.schema.scalars import integer_range


class WideDecoder:
    """Decodes rows of thousands of columns, in time linear in the body whatever its order."""

    def __init__(self, codec: FrameCodec, name: str) -> None:
        self.codec = codec
        self.name = name
        self.decode_json = msgspec.json.Decoder().decode
        labels = codec.labels
        self.cells_of = itemgetter(*labels) if len(labels) > 1 else _lone(labels[0])
        groups: dict[tuple[frozenset[type], int | None, int | None], list[int]] = {}
        self.is_plain = True
        for place, one in enumerate(codec.codecs):
            allowed = _plain_types(one)
            if allowed is None:
                self.is_plain = False
            else:
                groups.setdefault(allowed, []).append(place)
        self.groups = [
            (itemgetter(*places) if len(places) > 1 else _lone(places[0]), *allowed)
            for allowed, places in groups.items()
        ]

    def decode(self, body: bytes) -> Call:
        """Return the call of a row or of rows. Raises NotPlain, for columns too."""
        if not self.is_plain:
            raise NotPlain
        try:
            value = self.decode_json(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotPlain from None
        rows = [self._cells(row) for row in (value if isinstance(value, list) else [value])]
        quotes = sum(2 * len(cells) + 2 * sum(type(c) is str for c in cells) for cells in rows)
        if body.count(b'"') != quotes:
            require_no_duplicates(body)
        form: Form = "rows" if isinstance(value, list) else "row"
        if not rows:
            return call_of_columns(self.codec, self.name, form, [()] * len(self.codec.codecs), 0)
        return call_of_rows(self.codec, self.name, form, rows)

    def _cells(self, row: Any) -> tuple[Any, ...]:
        if not isinstance(row, dict):
            raise NotPlain
        try:
            cells: tuple[Any, ...] = self.cells_of(row)
        except KeyError:
            raise NotPlain from None
        if len(row) != len(cells) and not self.codec.ignores_extra:
            raise NotPlain
        for group_of, allowed, low, high in self.groups:
            group = group_of(cells)
            if not set(map(type, group)) <= allowed:
                raise NotPlain
            if low is not None and high is not None and not low <= min(group) <= max(group) <= high:
                raise NotPlain
        return cells


def _lone(key: int | str) -> Callable[[Any], Any]:
    return lambda of: (of[key],)


def _plain_types(one: ColumnCodec) -> tuple[frozenset[type], int | None, int | None] | None:
    """Return (types of a cell that needs no second look, least, greatest); None: it always does."""
    of, nullable = one.column.type, isinstance(one.column.type, t.Maybe)
    of = of.of if isinstance(of, t.Maybe) else of
    null = {type(None)} if nullable or (isinstance(of, t.Float) and of.nan) else set()
    if isinstance(of, t.Float) and of.bits == 64:
        return frozenset({float} | null), None, None
    if isinstance(of, t.Integer) and not null and (bounds := integer_range(of)) is not None:
        return frozenset({int}), *bounds
    if isinstance(of, t.Boolean):
        return frozenset({bool} | null), None, None
    if isinstance(of, t.Text):
        return frozenset({str} | null), None, None
    return None
