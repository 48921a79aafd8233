from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.config import BatchInput, BatchJobConfig, BatchOutput
from envelope.errors import ConfigError, SchemaError
from ray_runtime.batch.plan import (
    CALL_BYTES,
    CALL_ROWS,
    MAX_PART_BYTES,
    MIB,
    MIN_PART_BYTES,
    Columns,
    Cut,
    InputFile,
    RowGroup,
    Slice,
    call_rows,
    choose_columns,
    choose_shape,
    cut,
    worker_cpus,
    worker_slots,
)


def config(**changes: Any) -> BatchJobConfig:
    job = {"query": "id = 'x'", "input": BatchInput(path="in"), "output": BatchOutput(path="out")}
    return BatchJobConfig(**{**job, **changes})


# -- shape ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, is_row_wise, shape",
    [
        pytest.param({}, True, "rows", id="row-wise"),
        pytest.param({"whole_table": True}, False, "table", id="whole-table"),
        pytest.param({"whole_table": True}, True, "table", id="row-wise-in-one-call"),
        pytest.param({"group_by": ("region",)}, False, "groups", id="groups"),
    ],
)
def test_what_a_call_gets(changes: dict[str, Any], is_row_wise: bool, shape: str) -> None:
    assert choose_shape(config(**changes), is_row_wise=is_row_wise, reason="") == shape


def test_a_whole_frame_function_needs_to_know_which_rows_belong_together() -> None:
    with pytest.raises(ConfigError) as caught:
        choose_shape(config(), is_row_wise=False, reason="8 rows in, 1 output")
    assert str(caught.value) == (
        "it is not row-wise (8 rows in, 1 output), so its answer depends on which rows it is given "
        "together; add whole_table: true for one call over all rows, or group_by: [column, ...] "
        "for one call per group"
    )


def test_one_table_is_not_many_groups() -> None:
    with pytest.raises(ConfigError, match="whole_table and group_by exclude each other"):
        choose_shape(config(whole_table=True, group_by=("region",)), is_row_wise=False, reason="")


# -- columns -------------------------------------------------------------------------------------


def choose(**changes: Any) -> Columns:
    given: dict[str, Any] = {
        "where": "the input t",
        "needed": ["age", "income"],
        "available": ["id", "age", "income", "region", "note"],
        "keep": (),
        "outputs": ["output"],
    }
    return choose_columns(**{**given, **changes})


@pytest.mark.parametrize(
    "changes, read",
    [
        pytest.param({}, ("age", "income"), id="only-what-is-needed"),
        pytest.param({"keep": ("id",)}, ("id", "age", "income"), id="kept"),
        pytest.param({"keep": ("age", "id", "age")}, ("age", "id", "income"), id="kept-once"),
        pytest.param(
            {"keep": "all"}, ("id", "age", "income", "region", "note"), id="all-in-their-order"
        ),
        pytest.param(
            {"group_by": ("region",), "keep": "all"},
            ("region", "id", "age", "income", "note"),
            id="keys-first",
        ),
    ],
)
def test_columns_read(changes: dict[str, Any], read: tuple[str, ...]) -> None:
    assert choose(**changes).read == read


def test_every_missing_column_is_named_with_what_it_is_for() -> None:
    with pytest.raises(SchemaError) as caught:
        choose(needed=["Age", "height"], keep=("client",), group_by=("regions",))
    assert str(caught.value) == (
        "the input t lacks these columns:\n"
        "  'Age', for the function (did you mean 'age'?)\n"
        "  'height', for the function\n"
        "  'client', for keep_columns\n"
        "  'regions', for group_by (did you mean 'region'?)\n"
        "it has: 'id', 'age', 'income', 'region', 'note'"
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        pytest.param(
            {"keep": ("note",), "outputs": ["note"]},
            "two columns named 'note'.*leave it out of keep_columns$",
            id="named",
        ),
        pytest.param(
            {"keep": "all", "outputs": ["note", "id"]},
            "two columns named 'id', 'note'.*name the others instead of 'all'",
            id="all",
        ),
        pytest.param({"group_by": ("region",), "outputs": ["region"]}, "named 'region'", id="key"),
    ],
)
def test_no_two_output_columns_have_one_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(**changes)


# -- cutting -------------------------------------------------------------------------------------


def parquet(path: str, *groups_mib: float, rows_per_mib: int = 10_000) -> InputFile:
    groups = tuple(
        RowGroup(n_rows=int(size * rows_per_mib), size_bytes=int(size * MIB)) for size in groups_mib
    )
    return InputFile(
        path=path,
        size_bytes=sum(group.size_bytes for group in groups),
        n_rows=sum(group.n_rows for group in groups),
        row_groups=groups,
    )


def csv(path: str, mib: float) -> InputFile:
    return InputFile(path=path, size_bytes=int(mib * MIB))


def names(found: Cut) -> list[list[str]]:
    return [
        [piece.path + "".join(f"#{n}" for n in piece.row_groups or ()) for piece in part]
        for part in found.parts
    ]


@pytest.mark.parametrize(
    "files, slots, parts",
    [
        pytest.param([parquet("a", 1)], 2, [["a"]], id="a-small-table-is-one-task"),
        pytest.param(
            [parquet(name, 11) for name in "abcdefghijklmnop"],
            2,
            [list(pair) for pair in ("ab", "cd", "ef", "gh", "ij", "kl", "mn", "op")],
            id="four-parts-a-worker",
        ),
        pytest.param(
            [parquet("a", 40, 40, 40, 40)],
            2,
            [["a#0"], ["a#1"], ["a#2"], ["a#3"]],
            id="a-large-file-by-row-groups",
        ),
        pytest.param(
            [parquet("a", 9, 9, 9, 9), parquet("b", 1)],
            1,
            [["a#0"], ["a#1"], ["a#2"], ["a#3", "b"]],
            id="a-part-may-go-over-files",
        ),
        pytest.param(
            [parquet("a", *[4] * 8)],
            1,
            [["a#0#1"], ["a#2#3"], ["a#4#5"], ["a#6#7"]],
            id="row-groups-side-by-side-are-one-slice",
        ),
        pytest.param([csv("a", 100), csv("b", 120)], 2, [["a"], ["b"]], id="csv-files-are-whole"),
    ],
)
def test_tables_that_are_scored_where_they_are_read(
    files: list[InputFile], slots: int, parts: list[list[str]]
) -> None:
    found = cut(files, slots=slots)
    assert names(found) == parts
    assert not found.is_spread


@pytest.mark.parametrize(
    "files, slots",
    [
        pytest.param([parquet("a", 40)], 2, id="one-row-group-for-two-workers"),
        pytest.param([csv("a", 60)], 4, id="one-csv-for-four"),
        pytest.param([csv("a", 1_000), *[csv("b", 10)] * 20], 2, id="one-giant-among-many"),
    ],
)
def test_a_file_that_cannot_be_cut_is_spread_over_the_workers(
    files: list[InputFile], slots: int
) -> None:
    found = cut(files, slots=slots)
    assert found.is_spread
    assert 0 < found.block_bytes <= MAX_PART_BYTES


def test_a_slice_knows_its_first_row() -> None:
    found = cut([parquet("a", 40, 40, 40, 40)], slots=1)
    assert [part[0].first_row for part in found.parts] == [0, 400_000, 800_000, 1_200_000]


def test_a_slow_function_gets_small_parts() -> None:
    files = [parquet("a", *[0.1] * 64)]  # 64,000 rows in 6 MiB
    assert len(cut(files, slots=8).parts) == 1
    assert len(cut(files, slots=8, row_ms=0.0001).parts) == 1
    assert len(cut(files, slots=8, row_ms=50.0).parts) >= 8


@given(
    st.lists(st.lists(st.floats(0, 300), max_size=6), min_size=1, max_size=30),
    st.integers(1, 64),
    st.one_of(st.none(), st.floats(0.001, 1e6)),
)
def test_every_row_group_is_read_once_and_in_order(
    sizes: list[list[float]], slots: int, row_ms: float | None
) -> None:
    files = [parquet(f"{place:03}", *groups) for place, groups in enumerate(sizes)]
    read = [
        (piece.path, group)
        for part in cut(files, slots=slots, row_ms=row_ms).parts
        for piece in part
        for group in (
            range(len(files[int(piece.path)].row_groups))
            if piece.row_groups is None
            else piece.row_groups
        )
    ]
    assert read == [(file.path, n) for file in files for n in range(len(file.row_groups))]


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=300), st.integers(1, 64))
def test_parts_of_small_files_are_no_larger_than_a_worker_can_hold(
    sizes: list[float], slots: int
) -> None:
    files = {str(place): csv(str(place), size) for place, size in enumerate(sizes)}
    found = cut(files.values(), slots=slots)
    for part in found.parts:
        held = sum(files[piece.path].size_bytes for piece in part)
        assert held <= 1.25 * max(MAX_PART_BYTES, MIN_PART_BYTES, 20 * MIB)


def test_no_files_are_no_parts() -> None:
    assert cut([], slots=4).parts == ()


# -- calls and workers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n_rows, size_bytes, rows",
    [
        pytest.param(1_000_000, 80_000_000, CALL_ROWS, id="narrow-rows"),
        pytest.param(1_000, 1_000 * 80_000, CALL_BYTES // 80_000, id="wide-rows"),
        pytest.param(3, 3 * 10**9, 1, id="a-row-larger-than-a-call"),
        pytest.param(0, 0, CALL_ROWS, id="no-rows"),
    ],
)
def test_rows_per_call(n_rows: int, size_bytes: int, rows: int) -> None:
    assert call_rows(n_rows, size_bytes) == rows


@pytest.mark.parametrize(
    "total, free, cpus",
    [
        pytest.param(8, 8, 1.0, id="all-free"),
        pytest.param(2, 1.75, 0.87, id="a-replica-does-not-cost-a-worker"),
        pytest.param(64, 63.5, 0.99, id="large"),
        pytest.param(4, 0.5, 0.5, id="a-busy-cluster-is-waited-for"),
        pytest.param(0.5, 0.5, 0.5, id="less-than-a-core"),
        pytest.param(0, 0, 1.0, id="no-node-yet"),
    ],
)
def test_what_a_worker_reserves(total: float, free: float, cpus: float) -> None:
    assert worker_cpus(total=total, free=free) == cpus


@pytest.mark.parametrize("total, slots", [(0, 16), (0.5, 1), (2.0, 2), (63.9, 63)])
def test_how_many_workers_to_cut_for(total: float, slots: int) -> None:
    assert worker_slots(total) == slots


def test_a_slice_defaults_to_the_whole_file() -> None:
    assert Slice(path="a") == Slice(path="a", row_groups=None, first_row=0)
