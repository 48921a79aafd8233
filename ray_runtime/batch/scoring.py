"""What a batch worker does with rows: load the envelope once, call the function, shape answers.

Everything a worker is told travels as plain data; it reads the store, never the registry.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from envelope.errors import EnvelopeError, Fault, SchemaError
from envelope.load import LoadedFunction, load_envelope
from envelope.schema import Checker
from envelope.store import Store
from ray_runtime.batch.plan import Columns, Shape, call_rows
from ray_runtime.batch.reading import rows_at

MAX_FRAMES = 8  # of the model's own traceback, in the error

_ROW = re.compile(r"^rows\[(\d+)\]\.?(.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The function to call. function_hashes: (name, SHA-256) of what the registry knows of it."""

    store_url: str
    envelope_id: str
    manifest_sha256: str
    function_hashes: tuple[tuple[str, str], ...]
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What to do with each block of rows."""

    target: Target
    columns: Columns
    shape: Shape


def score(block: pa.Table, scoring: Scoring) -> pa.Table:
    """Return the columns carried over and the answers, for the rows of one block.

    Raises SchemaError saying in which file and row, EnvelopeError when the function itself raised,
    and what loading an envelope raises.
    """
    function, checker = load(scoring.target)
    if scoring.shape == "rows":
        step = call_rows(block.num_rows, block.nbytes)
    else:
        step = max(block.num_rows, 1)
    scored = [
        _with_kept(block.slice(start, step), start, block, scoring, function, checker)
        for start in range(0, max(block.num_rows, 1), step)
    ]
    return pa.concat_tables(scored, promote_options="permissive")


@lru_cache(maxsize=1)  # a worker process belongs to one driver, and that runs job after job
def load(target: Target) -> tuple[LoadedFunction, Checker]:
    """Load the envelope into this process; once, however many parts it is given."""
    # There is a worker per core. Ray holds OpenMP to that; joblib, and lightgbm with it, would
    # start a thread per core in each of them.
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", os.environ.get("OMP_NUM_THREADS", "1"))
    envelope = load_envelope(
        Store(target.store_url),
        target.envelope_id,
        manifest_sha256=target.manifest_sha256,
        function_hashes=dict(target.function_hashes),
    )
    function = envelope.function(target.function)
    return function, function.checker_for()


def _with_kept(
    rows: pa.Table,
    start: int,
    block: pa.Table,
    scoring: Scoring,
    function: LoadedFunction,
    checker: Checker,
) -> pa.Table:
    columns = scoring.columns
    where = _Where(block.schema.metadata, start, rows.num_rows)
    try:
        call = checker.read_arrow(rows.select(list(columns.needed)))
    except SchemaError as exc:
        raise SchemaError(exc.summary, [where.of(fault) for fault in exc.faults]) from None
    try:
        output = function.blocking_call(**call.arguments())
    except Exception as exc:  # a model may raise anything
        raise EnvelopeError(_raised(exc, scoring.target, where)) from None
    is_per_row = scoring.shape == "rows"
    answers = checker.write_arrow(output, rows.num_rows if is_per_row else None)
    if columns.kept:
        if answers.num_rows != rows.num_rows:
            raise SchemaError(
                f"the function {function.name!r} answered with {answers.num_rows} rows for "
                f"{rows.num_rows}, so keep_columns has nothing to stand beside; leave it out"
            )
        answers = _beside(rows.select(list(columns.kept)), answers)
    if columns.group_by:
        keys = rows.select(list(columns.group_by)).slice(0, 1)
        answers = _beside(_repeated(keys, answers.num_rows), answers)
    return answers


def _beside(left: pa.Table, right: pa.Table) -> pa.Table:
    return pa.table(
        [*left.columns, *right.columns], names=[*left.column_names, *right.column_names]
    )


def _repeated(row: pa.Table, times: int) -> pa.Table:
    return row.take(pa.repeat(0, times))


class _Where:
    """Where in the input the rows of a call come from."""

    def __init__(self, metadata: Mapping[bytes, bytes] | None, start: int, n_rows: int) -> None:
        self._metadata = metadata
        self._start = start
        self._n_rows = n_rows

    def of(self, fault: Fault) -> Fault:
        """Return a fault at a row of the call as one at a row of its file."""
        match = _ROW.match(fault.path)
        place = rows_at(self._metadata, self._start + int(match[1])) if match else None
        if match is None or place is None:
            return fault
        path = f"{place}, {match[2]}" if match[2] else place
        return Fault(path=path, expected=fault.expected, got=fault.got)

    def __str__(self) -> str:
        first = rows_at(self._metadata, self._start)
        last = rows_at(self._metadata, self._start + max(self._n_rows, 1) - 1)
        return f"{first} to {last}" if first and last else f"{self._n_rows} rows"


def _raised(error: Exception, target: Target, where: _Where) -> str:
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
    shown = "".join(traceback.format_list(frames[-MAX_FRAMES:]))
    return (
        f"the function {target.function!r} of envelope {target.envelope_id} raised "
        f"{type(error).__name__}: {error}\nfor {where}\n{shown}".rstrip()
    )
