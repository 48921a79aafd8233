"""The Ray Data pipeline of one job: read, score, write, in one task per part of the input.

All three carry the same runtime_env and resources, so that Ray Data fuses them: rows never leave
the worker that reads them. Blocks are Arrow.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasink, Datasource, ReadTask, TaskPoolStrategy
from ray.data.block import BlockMetadata
from ray.data.context import DataContext

from ray_runtime.batch.outputs import WrittenPart, write_part
from ray_runtime.batch.plan import Cut
from ray_runtime.batch.reading import Reading, read_part
from ray_runtime.batch.scoring import Scoring, score


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What a worker needs to write a part. schema: of the output, as Arrow IPC; None if unknown."""

    path: str
    batch_id: str
    schema: bytes | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """How the tasks run. concurrency: None lets Ray Data decide."""

    runtime_env: Mapping[str, Any]
    num_cpus: float
    concurrency: int | None = None


class Source(Datasource):  # type: ignore[misc]  # Ray ships no types
    """One read task per part."""

    def __init__(self, reading: Reading, cut: Cut, *, size_bytes: int) -> None:
        super().__init__()
        self._reading = reading
        self._cut = cut
        self._size_bytes = size_bytes

    def get_name(self) -> str:
        return "Table"

    def estimate_inmemory_data_size(self) -> int:
        return self._size_bytes

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """Return the tasks in the order of the input; their number is ours to decide."""
        block_bytes = self._cut.block_bytes if self._cut.is_spread else None
        size_bytes = self._size_bytes // max(len(self._cut.parts), 1)
        return [
            ReadTask(
                partial(read_part, self._reading, part, block_bytes),
                BlockMetadata(
                    num_rows=None, size_bytes=size_bytes, input_files=None, exec_stats=None
                ),
                per_task_row_limit=per_task_row_limit,
            )
            for part in self._cut.parts
        ]


class Sink(Datasink[WrittenPart | None]):  # type: ignore[misc]
    """One file per task, named by the task's place in the order."""

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        self.parts: tuple[WrittenPart, ...] = ()

    def write(self, blocks: Iterable[pa.Table], ctx: Any) -> WrittenPart | None:
        """Runs in the worker. Blocks without rows come with any columns and are passed over."""
        writing = self.writing
        schema = (
            None if writing.schema is None else pa.ipc.read_schema(pa.py_buffer(writing.schema))
        )
        return write_part(
            writing.path,
            writing.batch_id,
            ctx.task_idx,
            blocks,
            schema=schema,
            metadata=writing.metadata,
        )

    def on_write_complete(self, write_result: Any) -> None:
        """Runs here. Keep what the workers say that they wrote."""
        found = (part for part in write_result.write_returns if part is not None)
        self.parts = tuple(sorted(found, key=lambda part: part.name))


def run_pipeline(
    source: Source,
    cut: Cut,
    scoring: Scoring,
    writing: Writing,
    workers: Workers,
) -> tuple[WrittenPart, ...]:
    """Run to the end and return the files that were written, in the order of the input.

    Raises what the workers raised, as Ray wraps it.
    """
    common: dict[str, Any] = {
        "num_cpus": workers.num_cpus,
        "runtime_env": dict(workers.runtime_env),
    }
    sink = Sink(writing)
    with _context(cut, scoring):
        dataset = ray.data.read_datasource(
            source,
            override_num_blocks=max(len(cut.parts), 1),
            concurrency=_readers(cut, workers.concurrency),
            **common,
        )
        if scoring.shape == "groups":
            dataset = dataset.groupby(list(scoring.columns.group_by)).map_groups(
                score,
                fn_kwargs={"scoring": scoring},
                batch_format="pyarrow",
                compute=TaskPoolStrategy(workers.concurrency),
                **common,
            )
        else:
            dataset = dataset.map_batches(
                score,
                fn_kwargs={"scoring": scoring},
                batch_size=None,
                batch_format="pyarrow",
                compute=TaskPoolStrategy(workers.concurrency),
                **common,
            )
        dataset.write_datasink(sink, ray_remote_args=common, concurrency=workers.concurrency)
    return sink.parts


def _readers(cut: Cut, concurrency: int | None) -> int | None:
    """Return how many tasks may read at once, None for as many as the cluster runs.

    Ray Data fuses what has equal limits, and scoring and writing, once fused, count as having none
    (2.60). What is to be spread must not be fused with them: its reading tasks are limited to as
    many as there are.
    """
    return len(cut.parts) if cut.is_spread else concurrency


@contextmanager
def _context(cut: Cut, scoring: Scoring) -> Iterator[None]:
    """Set Ray Data up for one job, and leave this process's own settings as they were."""
    context = copy.deepcopy(DataContext.get_current())
    context.enable_progress_bars = False  # they count the records of files, not rows or parts
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    if scoring.shape != "groups":
        # None: a part is one block, however large its texts turn out to be.
        context.target_max_block_size = cut.block_bytes if cut.is_spread else None
    console = [
        handler
        for handler in logging.getLogger("ray.data").handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    levels = [handler.level for handler in console]
    for handler in console:
        handler.setLevel(logging.ERROR)  # its logs are in the session's folder, whole
    try:
        with DataContext.current(context), warnings.catch_warnings():
            # More workers than blocks is no mistake of whoever set a number of workers.
            warnings.filterwarnings("ignore", "The maximum number of concurrent tasks")
            yield
    finally:
        for handler, level in zip(console, levels, strict=True):
            handler.setLevel(level)
