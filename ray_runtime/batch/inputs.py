"""Input tables: which files there are, what columns they have, how large they are.

Paths are those of `envelope.store.Folder`: any fsspec URL. All of this runs before a worker starts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from envelope.config import BatchInput
from envelope.errors import ConfigError, SchemaError
from envelope.folder import Folder
from envelope.tables import POINTER, current_batch
from ray_runtime.batch.plan import InputFile, RowGroup
from ray_runtime.batch.reading import (
    Format,
    compression_of,
    csv_header,
    partition_of,
    reading_file,
)

PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")
CSV_SUFFIXES = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
COMPRESSED_GROWTH = 5  # what a compressed CSV grows to, roughly; only decides how it is cut
# Footers of more files than this are not all read before the job starts: on an object store one
# takes some 50 ms, and FOOTER_THREADS at once make 1,000 of them two seconds.
MAX_FOOTERS = 1_000
FOOTER_THREADS = 32

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An input table. url: its folder. files: (path below it, size in bytes), in order."""

    where: str
    url: str
    format: Format
    files: tuple[tuple[str, int], ...]


def find_table(config: BatchInput) -> Table:
    """Find the files of an input: a file, a folder, a glob, or a table that a batch job wrote.

    Hidden files and folders (`.` or `_` in front) are passed over. Raises ConfigError when there
    are none or their format is not clear, StorageError.
    """
    url, found = _find(config.path)
    files = [(path, size) for path, size in found if not _is_hidden(path)]
    if not files:
        raise ConfigError(
            f"the input {config.path} matches no file"
            + (f" but hidden ones ({found[0][0]}, ...)" if found else "")
            + "; check the path"
        )
    kind = config.format or _format_of([path for path, _ in files], config.path)
    return Table(where=config.path, url=url, format=kind, files=tuple(sorted(files)))


def column_names(table: Table) -> list[str]:
    """Return the columns of a table, as its first file has them."""
    return list(file_schema(table, table.files[0][0]).names)


def file_schema(table: Table, path: str) -> pa.Schema:
    """Return the columns of one file, those in its path (`region=US/`) last.

    A CSV file tells names alone: its types are text here. Raises StorageError, SchemaError.
    """
    folder = Folder(table.url)
    with reading_file(table.url, path):
        if table.format == "parquet":
            with folder.open_ranges(path) as file:
                own = pq.read_schema(file)
        else:
            own = pa.schema([(name, pa.string()) for name in csv_header(folder, path)])
    own = own.remove_metadata()
    for name in partition_of(table.url, path):
        if name not in own.names:
            own = own.append(pa.field(name, pa.string()))
    return own


def measure(
    table: Table, columns: Sequence[str]
) -> tuple[tuple[InputFile, ...], dict[pa.Schema, str]]:
    """Look into the files, before any worker starts.

    Returns the files with their sizes in memory, and each different schema of `columns` with one
    file that has it. Of more than MAX_FOOTERS files that many, evenly spread, are looked into.
    Raises SchemaError naming the file that lacks a column, StorageError.
    """
    step = max(1, -(-len(table.files) // MAX_FOOTERS))
    looked_at = [path for path, _ in table.files[::step]]
    look = _look_into_parquet if table.format == "parquet" else _look_into_csv
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        looks = dict(
            zip(
                looked_at, pool.map(lambda path: look(table, path, columns), looked_at), strict=True
            )
        )
    stored = dict(table.files)
    growth = sum(x.file.size_bytes for x in looks.values()) / max(
        1, sum(stored[path] for path in looks)
    )
    files = tuple(
        looks[path].file if path in looks else InputFile(path=path, size_bytes=int(size * growth))
        for path, size in table.files
    )
    schemas: dict[pa.Schema, str] = {}
    for path, seen in looks.items():
        schemas.setdefault(seen.schema, path)
    return files, schemas


# -- finding -------------------------------------------------------------------------------------


def _find(path: str) -> tuple[str, list[tuple[str, int]]]:
    magic = _MAGIC.search(path)
    if magic:
        url, _, _ = path[: magic.start()].rpartition("/")
        pattern = path[len(url) + 1 :]
        return url, Folder(url).find(pattern)
    folder = Folder(path)
    found = folder.find()
    if found and found[0][0] == "":  # it is a file itself
        url, _, name = path.rstrip("/").rpartition("/")
        return url or ".", [(name, found[0][1])]
    if any(name == POINTER for name, _ in found) and (batch := current_batch(path)):
        url = f"{folder.url}/{batch}"
        return url, [(n, size) for n, size in Folder(url).find() if n.endswith(".parquet")]
    return path.rstrip("/"), found


def _is_hidden(path: str) -> bool:
    return any(
        part.startswith(".") or (part.startswith("_") and "=" not in part)
        for part in path.split("/")
    )


def _format_of(paths: Sequence[str], where: str) -> Format:
    formats = {_format_of_one(path) for path in paths}
    if len(formats) == 1 and (known := formats.pop()) is not None:
        return known
    odd = next((path for path in paths if _format_of_one(path) is None), paths[0])
    raise ConfigError(
        f"the input {where} is not all Parquet or all CSV by its files' names (there is {odd!r}); "
        "point to the files with a glob such as folder/*.parquet, or set input.format"
    )


def _format_of_one(path: str) -> Format | None:
    name = path.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return "parquet"
    return "csv" if name.endswith(CSV_SUFFIXES) else None


# -- looking -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    file: InputFile
    schema: pa.Schema


def _look_into_parquet(table: Table, path: str, columns: Sequence[str]) -> _Look:
    with reading_file(table.url, path), Folder(table.url).open_ranges(path) as file:
        parquet = pq.ParquetFile(file)
        metadata, own = parquet.metadata, parquet.schema_arrow
    schema = _selected(table, path, own, columns)
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = (group.column(place) for place in range(group.num_columns))
        size = sum(
            # As strings are: a dictionary of ten levels makes a long column small in the file.
            max(chunk.total_uncompressed_size, _least_bytes(chunk.physical_type) * group.num_rows)
            for chunk in chunks
            if chunk.path_in_schema.partition(".")[0] in columns or chunk.path_in_schema in columns
        )
        groups.append(RowGroup(n_rows=group.num_rows, size_bytes=size))
    found = InputFile(
        path=path,
        size_bytes=sum(group.size_bytes for group in groups),
        n_rows=metadata.num_rows,
        row_groups=tuple(groups),
    )
    return _Look(file=found, schema=schema)


def _least_bytes(physical_type: str) -> int:
    return {"INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}.get(physical_type, 1)


def _look_into_csv(table: Table, path: str, columns: Sequence[str]) -> _Look:
    schema = _selected(table, path, file_schema(table, path), columns)
    size = dict(table.files)[path] * (COMPRESSED_GROWTH if compression_of(path) else 1)
    return _Look(file=InputFile(path=path, size_bytes=size), schema=schema)


def _selected(table: Table, path: str, own: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    partition = partition_of(table.url, path)
    missing = [name for name in columns if name not in own.names and name not in partition]
    if missing:
        raise SchemaError(
            f"{table.url}/{path} lacks {', '.join(map(repr, missing))}, which other files of "
            f"{table.where} have; it has {', '.join(map(repr, own.names))}"
        )
    return pa.schema(
        [
            pa.field(name, own.field(name).type if name in own.names else pa.string())
            for name in columns
        ]
    )
