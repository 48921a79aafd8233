"""How a table is cut into tasks and which columns are read: decisions on plain values.

Nothing here reads a file or knows Ray.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from envelope.errors import ConfigError, SchemaError

if TYPE_CHECKING:
    from envelope.config import BatchJobConfig

MIB = 1 << 20
# In memory, of the columns that are read. A task costs some 20 ms and a file of its own, and holds
# its part as Arrow and its answers at once: up to twice the upper bound.
MIN_PART_BYTES = 8 * MIB
MAX_PART_BYTES = 128 * MIB
PARTS_PER_SLOT = 4  # so that the last part of a slow worker keeps the others waiting a little only
PART_WORK_MS = 2_000.0  # a part of a slow function may be small: this much work is worth a task
# One call of the function. 64k rows of ten floats took as long per row as 125k or 16k (lightgbm);
# 10k rows took a tenth longer. The bytes bound wide rows.
CALL_ROWS = 65_536
CALL_BYTES = 32 * MIB
MIN_WORKER_CPUS = 0.5
UNKNOWN_SLOTS = 16

Shape = Literal["rows", "table", "groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """What can be read by itself. size_bytes: in memory, of the columns that are read."""

    n_rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of a table. path: relative to the table's folder.

    size_bytes: in memory, of the columns that are read; an estimate. n_rows: None when unknown.
    row_groups: () where the file can only be read from its start to its end.
    """

    path: str
    size_bytes: int
    n_rows: int | None = None
    row_groups: tuple[RowGroup, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Consecutive rows of one file. row_groups: None reads all. first_row: counts from 0."""

    path: str
    row_groups: tuple[int, ...] | None = None
    first_row: int = 0


Part = tuple[Slice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a table is cut. parts: one read task each, in the input's order.

    is_spread: the parts are too few or too large to be scored where they are read; blocks of about
    `block_bytes` go from the tasks that read to those that score. Otherwise a part is one block.
    """

    parts: tuple[Part, ...]
    is_spread: bool
    block_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns by name. needed: the function's. kept: carried over. group_by: keys of groups."""

    needed: tuple[str, ...]
    kept: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[str, ...]:
        """All that is read from the input, each once."""
        return tuple(dict.fromkeys((*self.group_by, *self.kept, *self.needed)))


def choose_shape(config: BatchJobConfig, *, is_row_wise: bool, reason: str) -> Shape:
    """Decide what one call of the function gets: some rows, the whole table, or one group.

    Raises ConfigError when the function answers for a table as a whole and the job does not say
    which rows belong together.
    """
    if config.whole_table and config.group_by:
        raise ConfigError("whole_table and group_by exclude each other; keep one of the two")
    if config.group_by:
        return "groups"
    if config.whole_table:
        return "table"
    if not is_row_wise:
        raise ConfigError(
            f"it is not row-wise ({reason}), so its answer depends on which rows it is given "
            "together; add whole_table: true for one call over all rows, or "
            "group_by: [column, ...] for one call per group"
        )
    return "rows"


def choose_columns(
    *,
    where: str,
    needed: Sequence[str],
    available: Sequence[str],
    keep: Sequence[str] | Literal["all"],
    group_by: Sequence[str] = (),
    outputs: Collection[str],
) -> Columns:
    """Decide which columns are read.

    where: the input, for people. available: its columns. outputs: names of the answer's columns.
    Raises SchemaError naming every column that the input lacks, ConfigError when an answer and a
    column carried over would have one name.
    """
    kept = tuple(available) if keep == "all" else tuple(dict.fromkeys(keep))
    kept = tuple(name for name in kept if name not in group_by)
    wanted = {"the function": needed, "keep_columns": kept, "group_by": group_by}
    lines = [
        f"  {name!r}, for {what}{_likely(name, available)}"
        for what, names in wanted.items()
        for name in names
        if name not in available
    ]
    if lines:
        raise SchemaError(
            f"{where} lacks these columns:\n" + "\n".join(lines) + f"\nit has: {_listed(available)}"
        )
    if clash := [name for name in (*group_by, *kept) if name in outputs]:
        raise ConfigError(
            f"the output would have two columns named {_listed(clash)}: one carried over from the "
            "input, one that the function returns; leave it out of keep_columns"
            + (" (name the others instead of 'all')" if keep == "all" else "")
        )
    return Columns(needed=tuple(needed), kept=kept, group_by=tuple(group_by))


def cut(files: Iterable[InputFile], *, slots: int, row_ms: float | None = None) -> Cut:
    """Cut a table into parts of consecutive rows for `slots` workers.

    row_ms: an upper bound of the function's time per row, where one is known.
    """
    files = list(files)
    total = sum(file.size_bytes for file in files)
    target = _part_bytes(files, total=total, slots=slots, row_ms=row_ms)
    parts = tuple(_pack(_units(files, target), target))
    largest = max((size for size, _ in parts), default=0)
    is_spread = largest > 2 * MAX_PART_BYTES or (
        len(parts) < slots and total >= (len(parts) + 1) * target
    )
    return Cut(
        parts=tuple(slices for _, slices in parts),
        is_spread=is_spread,
        block_bytes=target,
    )


def whole(files: Iterable[InputFile]) -> Cut:
    """Read the whole table as one block: for a function that is called once."""
    return Cut(parts=(tuple(Slice(path=f.path) for f in files),), is_spread=False, block_bytes=0)


def call_rows(n_rows: int, size_bytes: int) -> int:
    """Return how many of `n_rows` rows that fill `size_bytes` one call of the function gets."""
    row_bytes = max(size_bytes / max(n_rows, 1), 1.0)
    return max(1, min(CALL_ROWS, int(CALL_BYTES / row_bytes)))


def worker_slots(total_cpus: float) -> int:
    """Return how many workers to cut the input for. A cluster without nodes is about to grow."""
    return max(1, int(total_cpus)) if total_cpus else UNKNOWN_SLOTS


def worker_cpus(*, total: float, free: float) -> float:
    """Return what one worker reserves, so that as many start as there are cores.

    A replica that reserves a quarter of a core would otherwise cost a batch job a whole one. Where
    half of the cluster or more is taken, the job waits its turn instead.
    """
    if total < 1:
        return total or 1.0
    share = math.floor(free / int(total) * 100) / 100
    return min(1.0, max(MIN_WORKER_CPUS, share))


def _part_bytes(files: Sequence[InputFile], *, total: int, slots: int, row_ms: float | None) -> int:
    least = float(MIN_PART_BYTES)
    n_rows = sum(file.n_rows or 0 for file in files)
    if row_ms and n_rows:
        least = min(least, PART_WORK_MS / row_ms * total / n_rows)
    return int(max(1, least, min(MAX_PART_BYTES, total / (PARTS_PER_SLOT * max(slots, 1)))))


def _units(files: Iterable[InputFile], target: int) -> Iterable[tuple[int, Slice]]:
    """Yield (bytes, slice) of what is never cut: whole small files, row groups of large ones."""
    for file in files:
        if len(file.row_groups) < 2 or file.size_bytes <= target:
            yield file.size_bytes, Slice(path=file.path)
            continue
        first_row = 0
        for number, group in enumerate(file.row_groups):
            yield (
                group.size_bytes,
                Slice(path=file.path, row_groups=(number,), first_row=first_row),
            )
            first_row += group.n_rows


def _pack(units: Iterable[tuple[int, Slice]], target: int) -> Iterable[tuple[int, Part]]:
    size = 0
    slices: list[Slice] = []
    for unit_bytes, unit in units:
        if slices and size + unit_bytes > 1.25 * target:
            yield size, tuple(slices)
            size, slices = 0, []
        size += unit_bytes
        last = slices[-1] if slices else None
        if last and last.row_groups and unit.row_groups and last.path == unit.path:
            slices[-1] = Slice(
                path=last.path,
                row_groups=last.row_groups + unit.row_groups,
                first_row=last.first_row,
            )
        else:
            slices.append(unit)
    if slices:
        yield size, tuple(slices)


def _likely(name: str, available: Sequence[str]) -> str:
    lowered = {other.casefold(): other for other in available}
    near = get_close_matches(name.casefold(), lowered, n=1)
    return f" (did you mean {lowered[near[0]]!r}?)" if near else ""


def _listed(names: Sequence[str], most: int = 30) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "") or "no columns"
