from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envelope.config import BatchInput
from envelope.errors import ConfigError, SchemaError, StorageError
from envelope.store import Folder
from envelope.tables import new_batch_id, publish_batch
from ray_runtime.batch import inputs
from ray_runtime.batch.inputs import Table, column_names, find_table, measure
from ray_runtime.batch.plan import Slice
from ray_runtime.batch.reading import Reading, read_part, rows_at


def write(path: Path, columns: dict[str, Any], rows_per_group: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    else:
        lines = zip(*columns.values(), strict=True)
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, x)) for x in lines)]))


def find(path: Path | str, **options: Any) -> Table:
    return find_table(BatchInput(path=str(path), **options))


# -- which files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, asked, found",
    [
        pytest.param(["a.parquet"], "a.parquet", ["a.parquet"], id="a-file"),
        pytest.param(["t/b.parquet", "t/a.parquet"], "t", ["a.parquet", "b.parquet"], id="folder"),
        pytest.param(["t/b.parquet"], "t/", ["b.parquet"], id="trailing-slash"),
        pytest.param(
            ["t/a.parquet", "t/b.csv"], "t/*.parquet", ["a.parquet"], id="glob-of-one-format"
        ),
        pytest.param(
            ["t/x/1/a.parquet", "t/y/2/b.parquet"],
            "t/*/?/*.parquet",
            ["x/1/a.parquet", "y/2/b.parquet"],
            id="glob-over-folders",
        ),
        pytest.param(
            ["t/x/a.parquet", "t/y/b.parquet"], "t/*", ["x/a.parquet", "y/b.parquet"], id="folders"
        ),
        pytest.param(
            ["t/1/a.parquet", "t/2/a.parquet"], "t/[1]/*", ["1/a.parquet"], id="glob-of-a-class"
        ),
        pytest.param(
            [
                "t/a.parquet",
                "t/_SUCCESS.parquet",
                "t/.b.parquet",
                "t/_temporary/c.parquet",
                "t/_date=1/d.parquet",
            ],
            "t",
            ["_date=1/d.parquet", "a.parquet"],
            id="hidden-ones-are-passed-over",
        ),
    ],
)
def test_finding_files(tmp_path: Path, written: list[str], asked: str, found: list[str]) -> None:
    for name in written:
        write(tmp_path / name, {"x": [1]})
    assert [path for path, _ in find(f"{tmp_path}/{asked}").files] == found


@pytest.mark.parametrize(
    "written, asked, message",
    [
        pytest.param([], "t", r"t matches no file; check the path", id="nothing"),
        pytest.param([], "t/*.parquet", r"matches no file", id="nothing-for-a-glob"),
        pytest.param(
            ["t/_a.parquet"], "t", r"no file but hidden ones \(_a.parquet, ...\)", id="hidden-only"
        ),
        pytest.param(
            ["t/a.parquet", "t/readme.txt"],
            "t",
            r"not all Parquet or all CSV .*there is 'readme.txt'.*set input.format",
            id="another-format",
        ),
        pytest.param(
            ["t/a.parquet", "t/b.csv"], "t", r"not all Parquet or all CSV", id="two-formats"
        ),
    ],
)
def test_unclear_inputs(tmp_path: Path, written: list[str], asked: str, message: str) -> None:
    for name in written:
        write(tmp_path / name, {"x": [1]})
    with pytest.raises(ConfigError, match=message):
        find(f"{tmp_path}/{asked}")


def test_the_format_may_be_said(tmp_path: Path) -> None:
    write(tmp_path / "data.txt", {"x": [1]})
    assert find(tmp_path / "data.txt", format="csv").format == "csv"


def test_a_table_of_another_job_is_its_current_batch_alone(tmp_path: Path) -> None:
    old, new = sorted([new_batch_id(), new_batch_id()])
    for batch in (old, new):
        write(tmp_path / batch / "part-000000.parquet", {"x": [1]})
        Folder(str(tmp_path)).write(f"{batch}/batch.json", b"{}")
        publish_batch(str(tmp_path), batch)
    found = find(tmp_path)
    assert found.url == f"{tmp_path}/{new}"
    assert [path for path, _ in found.files] == ["part-000000.parquet"]


def test_inputs_on_another_filesystem() -> None:
    folder = Folder("memory://inputs/clients")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1, 2]}), sink)
    folder.write("2024/a.parquet", sink.getvalue().to_pybytes())
    table = find("memory://inputs/clients/*/*.parquet")
    assert [path for path, _ in table.files] == ["2024/a.parquet"]
    assert read_all(table)["x"].to_pylist() == [1, 2]


# -- what they hold ------------------------------------------------------------------------------


def test_columns_of_a_table(tmp_path: Path) -> None:
    write(tmp_path / "region=US/a.parquet", {"x": [1], "y": ["b"]})
    assert column_names(find(tmp_path)) == ["x", "y", "region"]


def test_a_csv_header_is_read_as_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('\ufeff"first, last","with ""quotes""",x\n1,2,3\n'.encode())
    assert column_names(find(tmp_path)) == ["first, last", 'with "quotes"', "x"]


@pytest.mark.parametrize(
    "content, message",
    [
        pytest.param(b"", "is empty: its first line must name the columns", id="empty"),
        pytest.param(b"x,y,x\n", "two columns named 'x'", id="twice"),
    ],
)
def test_bad_csv_headers(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SchemaError, match=message):
        column_names(find(tmp_path))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(StorageError, match=r"a\.parquet cannot be read"):
        column_names(find(tmp_path))


def test_sizes_are_of_the_columns_that_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": [1.0] * 1000, "y": ["text"] * 1000}, rows_per_group=400)
    (file,), schemas = measure(find(tmp_path), ["x"])
    assert [group.n_rows for group in file.row_groups] == [400, 400, 200]
    assert file.n_rows == 1000
    assert 8_000 <= file.size_bytes < 9_000  # though a dictionary makes it 100 bytes in the file
    assert list(schemas) == [pa.schema([("x", pa.float64())])]


def test_every_file_must_have_the_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": [1], "y": [1]})
    write(tmp_path / "b.parquet", {"y": [1]})
    with pytest.raises(SchemaError, match=r"b\.parquet lacks 'x'.*it has 'y'"):
        measure(find(tmp_path), ["x", "y"])


def test_of_very_many_files_some_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_FOOTERS", 4)
    for number in range(10):
        write(tmp_path / f"{number}.parquet", {"x": list(range(100))})
    files, _ = measure(find(tmp_path), ["x"])
    assert [file.n_rows for file in files].count(100) == 4
    assert all(400 < file.size_bytes < 1600 for file in files)


# -- reading -------------------------------------------------------------------------------------


def reading(table: Table, columns: list[str], **options: Any) -> Reading:
    return Reading(
        url=table.url,
        format=table.format,
        columns=tuple(columns),
        types=options.pop("types", {}),
        **options,
    )


def read_all(table: Table, columns: list[str] | None = None, **options: Any) -> pa.Table:
    part = tuple(Slice(path=path) for path, _ in table.files)
    wanted = reading(table, columns or column_names(table), **options)
    return pa.concat_tables(read_part(wanted, part))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_only_the_columns_asked_for_are_read_in_that_order(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", {"x": [1, 2], "y": ["a", "b"], "z": [3, 4]})
    found = read_all(find(tmp_path), ["z", "y"])
    assert found.column_names == ["z", "y"]
    assert found["y"].to_pylist() == ["a", "b"]


def test_csv_is_typed_by_the_schema_and_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        'code,age,note,seen,extra\n007,41,NA,2024-01-31T10:00:00Z,1\n1e5,NA,"",,true\n'
    )
    found = read_all(
        find(tmp_path),
        types={
            "code": pa.string(),
            "age": pa.float64(),
            "note": pa.string(),
            "seen": pa.timestamp("us", tz="UTC"),
        },
        null_texts=frozenset({"note"}),
    )
    assert found["code"].to_pylist() == ["007", "1e5"]
    assert found["age"].to_pylist() == [41.0, None]
    assert found["note"].to_pylist() == ["NA", None]
    assert found["seen"].null_count == 1
    assert found["extra"].to_pylist() == ["1", "true"]


def test_line_breaks_and_commas_in_csv_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x,y\n"two\nlines","a, b"\nplain,"""quoted"""\n')
    found = read_all(find(tmp_path))
    assert found["x"].to_pylist() == ["two\nlines", "plain"]
    assert found["y"].to_pylist() == ["a, b", '"quoted"']


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_csv(tmp_path: Path, suffix: str, pack: Any) -> None:
    (tmp_path / f"a.csv{suffix}").write_bytes(pack(b"x\n1\n2\n"))
    assert read_all(find(tmp_path))["x"].to_pylist() == ["1", "2"]


def test_a_csv_value_of_another_type_names_the_column_and_not_the_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,age\n1,secret\n")
    with pytest.raises(SchemaError) as caught:
        read_all(find(tmp_path), types={"age": pa.int64()})
    assert "a.csv: column 2 holds a value that is not int64" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_csv_row_of_another_length_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(StorageError, match=r"a\.csv cannot be read: .*Expected 2 columns, got 1"):
        read_all(find(tmp_path))


def test_columns_of_the_path(tmp_path: Path) -> None:
    write(tmp_path / "region=US/day=2024-01-31/a.parquet", {"x": [1, 2]})
    write(tmp_path / "region=__HIVE_DEFAULT_PARTITION__/day=2024-02-01/a.parquet", {"x": [3]})
    write(tmp_path / "region=N%20Z/day=2024-02-02/a.parquet", {"x": [4], "day": ["own"]})
    found = read_all(find(tmp_path), ["x", "region", "day"])
    rows = {row["x"]: (row["region"], row["day"]) for row in found.to_pylist()}
    assert rows == {
        1: ("US", "2024-01-31"),
        2: ("US", "2024-01-31"),
        3: (None, "2024-02-01"),
        4: ("N Z", "own"),
    }


def test_a_slice_reads_its_row_groups_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": list(range(10))}, rows_per_group=3)
    table = find(tmp_path)
    part = (Slice(path="a.parquet", row_groups=(1, 2), first_row=3),)
    (found,) = read_part(reading(table, ["x"]), part)
    assert found["x"].to_pylist() == [3, 4, 5, 6, 7, 8]
    assert rows_at(found.schema.metadata, 5) == "a.parquet, row 8"


def test_a_part_is_one_table_that_knows_where_its_rows_are_from(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": [0, 1, 2]})
    write(tmp_path / "b.parquet", {"x": [3, 4]})
    table = find(tmp_path)
    (found,) = read_part(reading(table, ["x"]), tuple(Slice(path=p) for p, _ in table.files))
    assert [rows_at(found.schema.metadata, row) for row in (0, 2, 3, 4, 5)] == [
        "a.parquet, row 0",
        "a.parquet, row 2",
        "b.parquet, row 0",
        "b.parquet, row 1",
        None,
    ]


def test_blocks_hold_all_rows_in_order_and_a_little_more_than_asked(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": list(range(500_000))}, rows_per_group=500_000)
    found = list(read_part(reading(find(tmp_path), ["x"]), (Slice(path="a.parquet"),), 1 << 20))
    assert pa.concat_tables(found)["x"].to_pylist() == list(range(500_000))
    assert len(found) > 2
    assert all((1 << 20) < block.nbytes < 1.5 * (1 << 20) for block in found[:-1])
    assert rows_at(found[1].schema.metadata, 0) == f"a.parquet, row {found[0].num_rows}"


def test_a_file_that_is_gone_says_where_it_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": [1]})
    table = find(tmp_path)
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(StorageError, match=r"a\.parquet is not there, seen from .*every node"):
        list(read_part(reading(table, ["x"]), (Slice(path="a.parquet"),)))


def test_a_file_without_rows_is_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n")
    assert list(read_part(reading(find(tmp_path), ["x"]), (Slice(path="a.csv"),))) == []


def test_rows_from_nowhere_have_no_place() -> None:
    assert rows_at(None, 0) is None
