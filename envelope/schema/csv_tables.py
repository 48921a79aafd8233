"""CSV in and out (RFC 4180, UTF-8, a header line): a column's JSON form, as text.

An empty field is null, an empty text is `""`: Arrow's parser and our writer tell them apart. Lists
and objects are JSON inside of a field. Infinity is refused, as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv

from envelope.errors import Fault, SchemaError
from envelope.schema import types as t
from envelope.schema.arrow import arrow_type, read_column
from envelope.schema.cells import ColumnCodec
from envelope.schema.faults import BAD, Faults
from envelope.schema.frames import Found, FrameCodec
from envelope.schema.words import describe

_INTEGER = re.compile(r"[+-]?\d{1,400}(\.0*)?", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d{1,400}(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_BOOLEANS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')


def parse_csv(body: bytes) -> pa.Table:
    """Return the columns of a CSV body, all as text, null where a field is empty.

    Raises SchemaError for what is not CSV: the reason, never the text itself.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _malformed(f"bytes that are not UTF-8 at {exc.start}") from exc
    if not body.strip():
        raise _malformed("nothing")
    if body.count(b'"') % 2:
        raise _malformed("a quotation mark that is not closed")
    names = _header(body)
    try:
        return pyarrow.csv.read_csv(
            pa.py_buffer(body),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, KeyError) as exc:
        row = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(exc))
        got = (
            f"{row[3]} fields in line {row[1]}, {row[2]} in the header" if row else "malformed CSV"
        )
        raise _malformed(got) from exc


def _header(body: bytes) -> list[str]:
    options = pyarrow.csv.ReadOptions(use_threads=False)
    try:
        with pyarrow.csv.open_csv(pa.py_buffer(body), read_options=options) as reader:
            return list(reader.schema.names)
    except pa.ArrowInvalid:  # the whole read says what is wrong
        return []


def _malformed(got: str) -> SchemaError:
    return SchemaError("the body is not CSV", [Fault(path="", expected="CSV", got=got)])


def read_csv(codec: FrameCodec, body: bytes, faults: Faults) -> Any:
    """Return the frame that was `Found` in a CSV body; BAD after faults."""
    table = parse_csv(body)
    before = len(faults.found)
    names = {name: place for place, name in enumerate(table.column_names)}
    if len(names) < table.num_columns:
        faults.add(None, "columns of different names", "two columns of one name")
    arrays = []
    for one in codec.codecs:
        place = names.get(one.label)
        if place is None:
            faults.add((None, one.label), describe(one.column.type), "nothing")
        else:
            arrays.append(_read_texts(one, table.column(place), faults))
    if not codec.ignores_extra:
        for name in names.keys() - codec.places.keys():
            faults.add((None, name), "no such column", "a value")
    if len(faults.found) > before:
        return BAD
    return Found("rows", table.num_rows, frame=codec.of_arrays(arrays, table.num_rows))


def _read_texts(codec: ColumnCodec, texts: pa.ChunkedArray, faults: Faults) -> Any:
    """Return a column of texts as an array of exactly the column's dtype; BAD after faults."""
    numbers = _numbers(codec, texts)
    if numbers is not None:
        return read_column(codec, numbers, None, faults)
    value_of = text_reader(codec.column.type)
    start = (None, "rows")
    before = len(faults.found)
    cells = []
    for row, text in enumerate(texts.to_pylist()):
        path = ((start, row), codec.label)
        value = None if text is None else value_of(text)
        if value is BAD:
            faults.add(path, describe(codec.column.type), "text")
        else:
            cells.append(codec.read(value, path, faults))
    return codec.build(cells) if len(faults.found) == before else BAD


def _numbers(codec: ColumnCodec, texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column of number texts as numbers, all at once; None where one needs a look."""
    of = codec.column.type.of if isinstance(codec.column.type, t.Maybe) else codec.column.type
    if not isinstance(of, t.Integer | t.Float):
        return None
    pattern = r"^-?[0-9]{1,15}$" if isinstance(of, t.Integer) else r"^-?[0-9]{1,15}(\.[0-9]+)?$"
    if pa.compute.all(pa.compute.match_substring_regex(texts, pattern)).as_py() is False:
        return None
    try:
        return texts.cast(arrow_type(codec.column))
    except pa.ArrowInvalid:
        return None


def text_reader(kind: t.Type) -> Callable[[str], Any]:
    """Return a function from a field's text to the JSON value that it stands for, or BAD."""
    match kind:
        case t.Maybe(of=of) | t.Constrained(of=of) | t.Categorical(of=of) | t.NumpyScalar(of=of):
            return text_reader(of)
        case t.Boolean():
            return lambda text: _BOOLEANS.get(text.lower(), BAD)
        case t.Integer():
            return lambda text: int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else BAD
        case t.Float():
            return _float_of
        case t.OneOf() | t.Enumeration() | t.AnyOf() | t.Anything() | t.Null():
            return _json_or_text
        case t.ListOf() | t.TupleOf() | t.SetOf() | t.MapOf() | t.Record() | t.Recursion():
            return _json_of
        case t.Array() | t.SeriesOf() | t.Frame() | t.SparseMatrix():
            return _json_of
        case _:  # read from text as they are
            return lambda text: text


def _float_of(text: str) -> Any:
    if not _FLOAT.fullmatch(text):
        return BAD
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return BAD
    if value.is_integer() and text.lstrip("+-").isdecimal():
        return int(text)  # so that 2**53 + 1 is found out
    return value


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return BAD


def _json_or_text(text: str) -> Any:
    """Return what a field of several types is: JSON where it is that, else the text."""
    value = _json_of(text)
    return text if value is BAD else value


def may_be_json(kind: t.Type | None) -> bool:
    """Tell whether a text of this type, or of a part of it, must be told from JSON in a field."""
    if isinstance(kind, t.Maybe | t.Constrained | t.Array):
        return may_be_json(kind.of)
    if isinstance(kind, t.ListOf | t.SetOf):
        return may_be_json(kind.item)
    if isinstance(kind, t.SeriesOf):
        return may_be_json(kind.column.type)
    return isinstance(kind, t.OneOf | t.Enumeration | t.AnyOf | t.Anything)


def write_csv(
    columns: Sequence[Sequence[Any]], names: Sequence[str], may_be_json: Sequence[bool]
) -> bytes:
    """Return JSON cells, given by column, as CSV with a header line.

    may_be_json: per column, whether its texts must be told from JSON; the last one holds on.
    """
    lines = [",".join(map(_field, names))]
    texts = []
    for place, column in enumerate(columns):
        field_of = _json_field_of if may_be_json[min(place, len(may_be_json) - 1)] else _field_of
        texts.append([field_of(cell) for cell in column])
    lines.extend(map(",".join, zip(*texts, strict=True)))
    return ("\r\n".join(lines) + "\r\n").encode()


def _json_field_of(cell: Any) -> str:
    if isinstance(cell, str) and _json_of(cell) is not BAD:
        return _field(json.dumps(cell))
    return _field_of(cell)


def _field_of(cell: Any) -> str:
    if cell is None or cell != cell:
        return ""
    if cell is True or cell is False:
        return "true" if cell else "false"
    if isinstance(cell, str):
        return _field(cell)
    if isinstance(cell, int | float):
        return repr(cell)
    encoded = msgspec.json.encode(cell).decode()
    return _field(encoded if encoded[0] in "[{" else encoded.strip('"'))


def _field(text: str) -> str:
    if text == "" or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text
