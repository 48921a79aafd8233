"""The fast way from a JSON body to the cells of one frame.

`msgspec` decodes into structs compiled from the columns' types. It refuses whatever needs a second
look (3.0 for an int, a huge integer for a float, a missing column), and the slow way decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from envelope.schema.calls import Call, call_of_columns, call_of_rows
from envelope.schema.cells import NotPlain
from envelope.schema.frames import FrameCodec, is_list_type, row_struct
from envelope.schema.json_body import require_no_duplicates
from envelope.schema.wide_json import WideDecoder

# A struct's members are looked up from the last one found on: in order it is linear, shuffled it
# is quadratic, 27 ms for 5,000 columns. Wider frames than this are decoded as dicts.
MOST_STRUCT_FIELDS = 300
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')  # what JSON escapes, msgspec takes for no member's name
_cells_of = msgspec.structs.astuple


def frame_decoder(codec: FrameCodec, name: str) -> Callable[[bytes], Call]:
    """Return the fast way of bodies of one frame; it raises NotPlain where the slow must decide."""
    if len(codec.codecs) <= MOST_STRUCT_FIELDS and not any(map(_UNNAMEABLE.search, codec.labels)):
        return FrameDecoder(codec, name).decode
    return WideDecoder(codec, name).decode


class FrameDecoder:
    """Decodes bodies of one frame. `decode` raises NotPlain where the slow way must decide."""

    def __init__(self, codec: FrameCodec, name: str) -> None:
        self.codec = codec
        self.name = name
        row = row_struct(codec, as_lists=False)
        self.row = msgspec.json.Decoder(row).decode
        self.rows = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        self.columns = msgspec.json.Decoder(row_struct(codec, as_lists=True)).decode
        self.columns_first = all(is_list_type(one.column.type) for one in codec.codecs)
        self.parsers = [
            (place, one.parse) for place, one in enumerate(codec.codecs) if one.parse is not None
        ]
        texts = [one.is_text for one in codec.codecs]
        self.counts_texts = None not in texts
        self.quotes_per_row = 2 * (len(texts) + sum(text is True for text in texts))
        self.text_places = [place for place, text in enumerate(texts) if text]

    def decode(self, body: bytes) -> Call:
        """Return the call of a body. Raises NotPlain."""
        start = body[:1]
        if start not in b"[{" or not start:
            start = body.lstrip()[:1]
        try:
            if start == b"[":
                return self._rows(body)
            if self.columns_first:
                return self._columns_or_row(body)
            try:
                return self._row(body)
            except msgspec.ValidationError:
                return self._columns(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotPlain from None

    def _columns_or_row(self, body: bytes) -> Call:
        try:
            return self._columns(body)
        except (msgspec.ValidationError, NotPlain):
            return self._row(body)

    def _row(self, body: bytes) -> Call:
        row = self.row(body)
        cells = _cells_of(row)
        if self.counts_texts:
            expected = self.quotes_per_row - 2 * sum(cells[i] is None for i in self.text_places)
            if body.count(b'"') != expected:
                require_no_duplicates(body)
        else:
            self._require_same_quotes(row, body)
        if self.parsers:
            parsed = list(cells)
            for place, parse in self.parsers:
                parsed[place] = parse((parsed[place],))[0]
            return call_of_rows(self.codec, self.name, "row", (parsed,))
        return call_of_rows(self.codec, self.name, "row", (cells,))

    def _rows(self, body: bytes) -> Call:
        found = self.rows(body)
        rows = list(map(_cells_of, found))
        columns: list[Any]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.codec.codecs)
        if self.counts_texts:
            nulls = sum(columns[place].count(None) for place in self.text_places)
            if body.count(b'"') != self.quotes_per_row * len(rows) - 2 * nulls:
                require_no_duplicates(body)
        else:
            self._require_same_quotes(found, body)
        for place, parse in self.parsers:
            columns[place] = parse(columns[place])
        return call_of_columns(self.codec, self.name, "rows", columns, len(rows))

    def _columns(self, body: bytes) -> Call:
        found = self.columns(body)
        columns = list(_cells_of(found))
        lengths = set(map(len, columns))
        if len(lengths) > 1:
            raise NotPlain
        self._require_same_quotes(found, body)
        for place, parse in self.parsers:
            columns[place] = parse(columns[place])
        n_rows = lengths.pop() if lengths else 0
        return call_of_columns(self.codec, self.name, "columns", columns, n_rows)

    def _require_same_quotes(self, found: Any, body: bytes) -> None:
        if msgspec.json.encode(found).count(b'"') != body.count(b'"'):
            require_no_duplicates(body)
