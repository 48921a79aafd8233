"""Rows of input files as Arrow: what a batch worker reads.

Every table says which rows of which files it holds, so that an error can say so too.
"""

from __future__ import annotations

import csv
import io
import json
import math
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from envelope.errors import SchemaError, StorageError
from envelope.folder import Folder
from ray_runtime.batch.plan import MIB, Part, Slice

Format = Literal["parquet", "csv"]
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
READ_ROWS = 65_536
READ_BYTES = 32 * MIB  # of all columns
CSV_BLOCK_BYTES = 4 * MIB  # also the longest row
CSV_NULLS = ["", "NA", "N/A", "#N/A", "null", "NULL", "None"]  # of what is not text
ROWS_KEY = b"envelope.rows"  # schema metadata of a block: which rows of which files it holds

_CSV_CONVERSION = re.compile(r"In CSV column #(\d+): .*?CSV conversion error to ([^:]+):")
_PARTITION = re.compile(r"([^=/]+)=([^/]*)")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a worker needs to read parts of a table; plain data.

    types: of columns that the files do not tell; text for those that are not named.
    null_texts: text columns of a CSV file where an empty field is null.
    """

    url: str
    format: Format
    columns: tuple[str, ...]
    types: Mapping[str, pa.DataType]
    null_texts: frozenset[str] = frozenset()


def read_part(reading: Reading, part: Part, block_bytes: int | None = None) -> Iterator[pa.Table]:
    """Read a part, as one table or, with `block_bytes`, as tables of a little more than that.

    Each says in its metadata which rows it holds, see `rows_at`. Raises SchemaError, StorageError.
    """
    pending: list[tuple[pa.Table, str, int]] = []
    pending_bytes = 0
    for piece in part:
        row = piece.first_row
        for table in _sliced(_read_slice(reading, piece), block_bytes):
            pending.append((table, piece.path, row))
            row += table.num_rows
            pending_bytes += table.nbytes
            if block_bytes is not None and pending_bytes > block_bytes:
                yield _joined(pending)
                pending, pending_bytes = [], 0
    if pending:
        yield _joined(pending)


def rows_at(metadata: Mapping[bytes, bytes] | None, row: int) -> str | None:
    """Say where a row of a block comes from: "clients/a.parquet, row 17"; None if unknown."""
    for path, first_row, n_rows in json.loads((metadata or {}).get(ROWS_KEY, b"[]")):
        if row < n_rows:
            return f"{path}, row {first_row + row}"
        row -= n_rows
    return None


def partition_of(url: str, path: str) -> dict[str, str | None]:
    """Return the columns that a path itself holds: `region=US/part-0.parquet`."""
    found = {}
    for folder in f"{url}/{path}".split("/")[:-1]:
        if match := _PARTITION.fullmatch(folder):
            value = unquote(match[2])
            found[unquote(match[1])] = None if value == _NO_PARTITION else value
    return found


def _sliced(tables: Iterator[pa.Table], block_bytes: int | None) -> Iterator[pa.Table]:
    """Cut tables to a quarter of a block: Ray Data cuts what is half too large, where it likes."""
    for table in tables:
        pieces = 1 if block_bytes is None else math.ceil(4 * table.nbytes / block_bytes)
        step = math.ceil(table.num_rows / max(pieces, 1)) or 1
        for start in range(0, table.num_rows, step):
            yield table.slice(start, step)


def _joined(pending: Sequence[tuple[pa.Table, str, int]]) -> pa.Table:
    rows: list[list[Any]] = []
    for table, path, first_row in pending:
        if rows and rows[-1][0] == path and rows[-1][1] + rows[-1][2] == first_row:
            rows[-1][2] += table.num_rows
        else:
            rows.append([path, first_row, table.num_rows])
    joined = pa.concat_tables([table for table, _, _ in pending], promote_options="permissive")
    return joined.replace_schema_metadata({ROWS_KEY: json.dumps(rows).encode()})


def _read_slice(reading: Reading, piece: Slice) -> Iterator[pa.Table]:
    """Yield the rows of a slice in tables of at most some 64k rows, with `reading.columns`."""
    partition = partition_of(reading.url, piece.path)
    read = _read_parquet if reading.format == "parquet" else _read_csv
    tables = read(reading, piece, partition)
    while True:
        with reading_file(reading.url, piece.path):
            table = next(tables, None)
        if table is None:
            return
        for name, value in partition.items():
            if name in reading.columns and name not in table.column_names:
                kind = reading.types.get(name, pa.string())
                constant = pa.scalar(value, pa.string()).cast(kind)
                table = table.append_column(name, pa.repeat(constant, table.num_rows))
        yield table.select(list(reading.columns))


def _read_parquet(
    reading: Reading, piece: Slice, partition: Mapping[str, str | None]
) -> Iterator[pa.Table]:
    with Folder(reading.url).open_ranges(piece.path) as source:
        file = pq.ParquetFile(source, pre_buffer=True)
        own = set(file.schema_arrow.names)
        _require(reading, piece.path, own, partition)
        groups = piece.row_groups if piece.row_groups is not None else range(file.num_row_groups)
        columns = [name for name in reading.columns if name in own]
        for group in groups:
            # A row group may be of any size; what is held beside the part is not.
            metadata = file.metadata.row_group(group)
            rows = READ_BYTES * metadata.num_rows // max(metadata.total_byte_size, 1)
            size = max(1, min(READ_ROWS, rows))
            for batch in file.iter_batches(size, row_groups=[group], columns=columns):
                yield pa.Table.from_batches([batch])


def _read_csv(
    reading: Reading, piece: Slice, partition: Mapping[str, str | None]
) -> Iterator[pa.Table]:
    from pyarrow import csv as arrow_csv

    folder = Folder(reading.url)
    own = csv_header(folder, piece.path)
    _require(reading, piece.path, set(own), partition)
    columns = [name for name in reading.columns if name in own]
    with _open_csv(folder, piece.path) as source:
        batches = arrow_csv.open_csv(
            source,
            read_options=arrow_csv.ReadOptions(block_size=CSV_BLOCK_BYTES, use_threads=False),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=columns,
                column_types={name: reading.types.get(name, pa.string()) for name in columns},
                null_values=CSV_NULLS,
                strings_can_be_null=False,
            ),
        )
        for batch in batches:
            yield _with_nulls(pa.Table.from_batches([batch]), reading.null_texts)


def _with_nulls(table: pa.Table, names: frozenset[str]) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name in names:
            texts = table.column(place)
            filled = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
            table = table.set_column(place, name, filled)
    return table


def _require(
    reading: Reading, path: str, own: set[str], partition: Mapping[str, str | None]
) -> None:
    if missing := [n for n in reading.columns if n not in own and n not in partition]:
        raise SchemaError(
            f"{reading.url}/{path} lacks {', '.join(map(repr, missing))}; "
            f"it has {', '.join(map(repr, sorted(own)))}"
        )


def csv_header(folder: Folder, path: str) -> list[str]:
    with _open_csv(folder, path) as source:
        text = io.TextIOWrapper(source, encoding="utf-8-sig", newline="")
        names = next(csv.reader(text), None)
    if not names:
        raise SchemaError(f"{folder.url}/{path} is empty: its first line must name the columns")
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise SchemaError(f"{folder.url}/{path} has two columns named {twice[0]!r}; rename one")
    return names


def _open_csv(folder: Folder, path: str) -> IO[bytes]:
    file = folder.open_ranges(path)
    kind = compression_of(path)
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), kind) if kind else file


def compression_of(path: str) -> str | None:
    return next((kind for end, kind in COMPRESSIONS.items() if path.lower().endswith(end)), None)


@contextmanager
def reading_file(url: str, path: str) -> Iterator[None]:
    """Turn what Arrow raises about a file into our error, naming the file and no value of it."""
    try:
        yield
    except FileNotFoundError as exc:
        raise StorageError(
            f"{url}/{path} is not there, seen from {platform.node()}; a local path must lead to "
            "the same files on every node, else use an object store"
        ) from exc
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as exc:
        if match := _CSV_CONVERSION.search(str(exc)):
            raise SchemaError(
                f"{url}/{path}: column {int(match[1]) + 1} holds a value that is not "
                f"{match[2]}; correct it, or save the model with a schema that accepts it"
            ) from exc
        raise StorageError(
            f"{url}/{path} cannot be read: {exc}; check the file, and input.format"
        ) from exc
