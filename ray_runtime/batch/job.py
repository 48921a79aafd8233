"""What a batch job is to do: resolved and checked, before anything is started or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from envelope.config import BatchJobConfig, read_desired_state
from envelope.connection import Connection
from envelope.errors import ConfigError, ModelNotFound, SchemaError
from envelope.manifest import Function, Manifest, Sample
from envelope.registry import EnvelopeRow
from envelope.schema import compile_checker
from envelope.schema import types as t
from envelope.schema.arrow import OUTPUT
from ray_runtime.batch.columns import answers_schema, check_types, csv_types
from ray_runtime.batch.inputs import Table, column_names, find_table, measure
from ray_runtime.batch.plan import (
    Columns,
    Cut,
    InputFile,
    choose_columns,
    choose_shape,
    cut,
    whole,
)
from ray_runtime.batch.reading import Reading
from ray_runtime.batch.scoring import Scoring, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that was found to be in order.

    files: those that are not known to be empty. n_rows: None where only reading tells.
    schema: of the output; None where only the answers tell.
    """

    name: str
    config: BatchJobConfig
    manifest: Manifest
    manifest_sha256: str
    function: Function
    table: Table
    files: tuple[InputFile, ...]
    n_rows: int | None
    reading: Reading
    scoring: Scoring
    schema: pa.Schema | None

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def cut(self, slots: int) -> Cut:
        """Cut the input for `slots` workers."""
        if self.scoring.shape == "table":
            return whole(self.files)
        return cut(self.files, slots=slots, row_ms=row_ms(self.function))


def read_job(path: str | Path, name: str | None = None) -> tuple[str, BatchJobConfig]:
    """Read one batch job of a YAML file; its name may be left out when there is only one.

    Raises ConfigError naming those there are.
    """
    jobs = read_desired_state(path).batch_jobs
    if not jobs:
        raise ConfigError(f"{path} has no batch_jobs; see docs/batch.md for what one looks like")
    if name is None:
        if len(jobs) > 1:
            raise ConfigError(f"{path} has several batch jobs; name one of {', '.join(jobs)}")
        name = next(iter(jobs))
    if name not in jobs:
        raise ConfigError(f"{path} has no batch job {name!r}; it has {', '.join(jobs)}")
    return name, jobs[name]


def check_job(name: str, config: BatchJobConfig, connection: Connection) -> Job:
    """Resolve the envelope, the newest that matches now, and look at the input.

    Raises QueryError, ModelNotFound, ConfigError, SchemaError, StorageError: all that can be known
    to be wrong before a worker starts.
    """
    row = next(iter(connection.registry.find(config.query, limit=1)), None)
    if row is None:
        raise ModelNotFound(
            f"batch job {name}: no envelope matches {config.query!r}; look with `envelope find`"
        )
    function = _function(row, config.function, connection)
    try:
        return _check(name, config, row, function, connection)
    except (ConfigError, SchemaError) as exc:
        about = f"batch job {name}, function {function.name!r} of envelope {row.id}: {exc}"
        raise type(exc)(about) from exc


def _check(
    name: str,
    config: BatchJobConfig,
    row: EnvelopeRow,
    function: Function,
    connection: Connection,
) -> Job:
    frame = function.schema.one_frame
    if frame is None:
        raise ConfigError(
            "it does not take one DataFrame, so a table cannot be given to it; "
            "name another with function:"
        )
    checker = compile_checker(function.schema)
    shape = choose_shape(
        config, is_row_wise=function.row_wise.is_row_wise, reason=function.row_wise.reason
    )
    table = find_table(config.input)
    answers = answers_schema(checker)
    columns = choose_columns(
        where=f"the input {table.where}",
        needed=[str(column.name) for column in frame.columns],
        available=column_names(table),
        keep=config.output.keep_columns,
        group_by=config.group_by,
        outputs=[OUTPUT] if answers is None else answers.names,
    )
    if columns.kept and _is_one_value(function.schema.output):
        raise ConfigError(
            "it answers with one value per call, so there are no rows to keep "
            "columns beside; leave keep_columns out"
        )
    reading = _reading(table, columns, frame)
    files, schemas = measure(table, columns.read)
    if table.format == "parquet":
        for schema, path in schemas.items():
            check_types(schema, frame, where=f"{table.url}/{path}")
    counts = [file.n_rows for file in files if file.n_rows is not None]
    return Job(
        name=name,
        config=config,
        manifest=connection.store.get_manifest(row.id, row.manifest_sha256),
        manifest_sha256=row.manifest_sha256,
        function=function,
        table=table,
        files=tuple(file for file in files if file.n_rows != 0),
        n_rows=sum(counts) if len(counts) == len(files) else None,
        reading=reading,
        scoring=Scoring(
            target=Target(
                store_url=connection.store.url,
                envelope_id=row.id,
                manifest_sha256=row.manifest_sha256,
                function_hashes=tuple(
                    (each, row.functions[each])
                    for each in dict.fromkeys((row.default_function, function.name))
                ),
                function=function.name,
            ),
            columns=columns,
            shape=shape,
        ),
        schema=None if answers is None else _output_schema(answers, columns, reading, schemas),
    )


def row_ms(function: Function) -> float | None:
    """Return an upper bound of the function's time per row, from its sample call."""
    rows = _rows_of(function.sample)
    return function.call_ms / rows if function.call_ms and rows else None


def _rows_of(sample: Sample | None) -> int:
    match sample:
        case Sample(input=list(rows)):
            return len(rows)
        case Sample(input=dict(members)) if members:
            first = next(iter(members.values()))
            return len(first) if isinstance(first, list) else 1
        case _:
            return 0


def _function(row: EnvelopeRow, name: str | None, connection: Connection) -> Function:
    chosen = name or row.default_function
    if chosen not in row.functions:
        raise ModelNotFound(
            f"envelope {row.id} has no function {chosen!r}; it has {', '.join(row.functions)}"
        )
    return connection.store.get_function(row.id, chosen, row.functions[chosen])


def _is_one_value(kind: t.Type | None) -> bool:
    return not isinstance(kind, t.Frame | t.SeriesOf | t.Array | t.ListOf | t.TupleOf)


def _reading(table: Table, columns: Columns, frame: t.Frame) -> Reading:
    if table.format == "csv":
        csv = csv_types(frame, columns.read)
        types, null_texts = csv.types, csv.null_texts
    else:
        types, null_texts = {}, frozenset[str]()
    return Reading(
        url=table.url,
        format=table.format,
        columns=columns.read,
        types=types,
        null_texts=null_texts,
    )


def _output_schema(
    answers: pa.Schema,
    columns: Columns,
    reading: Reading,
    schemas: Mapping[pa.Schema, Any],
) -> pa.Schema:
    """Return the columns carried over, in types that hold every file's, then the answers'."""
    try:
        own = pa.unify_schemas(list(schemas), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as exc:
        raise SchemaError(f"the input's files have different types: {exc}; convert them") from exc
    carried = [
        pa.field(name, reading.types.get(name, own.field(name).type))
        for name in (*columns.group_by, *columns.kept)
    ]
    return pa.schema([*carried, *answers])
