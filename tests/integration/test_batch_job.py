"""Batch jobs without a cluster: what is checked before one starts, and what its workers do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import envelope as me
from envelope.config import BatchInput, BatchJobConfig, BatchOutput
from envelope.connection import connect
from envelope.errors import (
    ConfigError,
    EnvelopeError,
    ModelNotFound,
    QueryError,
    SchemaError,
    StorageError,
)
from envelope.store import Folder
from ray_runtime.batch.job import Job, check_job, read_job, row_ms
from ray_runtime.batch.outputs import write_part
from ray_runtime.batch.reading import read_part
from ray_runtime.batch.scoring import load, score

FRAME = pd.DataFrame(
    {
        "client_id": [f"{n:03}" for n in range(40)],
        "age": np.arange(40),
        "income": np.linspace(0.0, 9.0, 40),
        "region": ["US", "DE"] * 20,
    }
)
X = FRAME[["age", "income"]]


def predict(df):  # type: ignore[no-untyped-def]
    return df["age"] * 2 + df["income"]


def share(df):  # type: ignore[no-untyped-def]
    return df["income"] / df["income"].sum()


def total(df) -> float:  # type: ignore[no-untyped-def]
    return float(df["income"].sum())


def scores(df):  # type: ignore[no-untyped-def]
    return pd.DataFrame({"low": df["income"] - 1, "high": df["income"] + 1})


def picky(df):  # type: ignore[no-untyped-def]
    if (df["age"] > 30).any():
        raise ValueError("too old")
    return df["age"]


def plain(age: int, income: float) -> float:
    return age + income


for each in (predict, share, total, scores, picky, plain):
    each.__module__ = "__main__"  # as if in a notebook: they travel by value


def save(function: Any, api_input: Any = X, **tags: str) -> me.Envelope:
    name = function.__name__
    return me.save_model(
        name=name,
        description="",
        query_function=function,
        api_input=api_input,
        tags={"f": name} | tags,
    )


def job_of(path: Path | str, function: str = "predict", **changes: Any) -> BatchJobConfig:
    output = BatchOutput(path=changes.pop("out", "/out"), keep_columns=changes.pop("keep", ()))
    values = {"query": f"tags.f = '{function}'", "output": output}
    return BatchJobConfig(**{**values, "input": BatchInput(path=str(path)), **changes})


def check(config: BatchJobConfig) -> Job:
    return check_job("nightly", config, connect())


def answers(config: BatchJobConfig) -> pa.Table:
    """All that the workers would write."""
    job = check(config)
    load.cache_clear()
    blocks = [
        score(block, job.scoring)
        for part in job.cut(2).parts
        for block in read_part(job.reading, part)
    ]
    found = pa.concat_tables(blocks)
    return found if job.schema is None else found.select(job.schema.names).cast(job.schema)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "clients"
    folder.mkdir()
    for number in range(4):
        FRAME.iloc[number * 10 : number * 10 + 10].to_parquet(folder / f"{number}.parquet")
    return folder


# -- the same answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_table_gets_the_answers_that_a_query_gets(tmp_path: Path, suffix: str) -> None:
    envelope = save(predict)
    path = tmp_path / f"clients.{suffix}"
    getattr(FRAME, f"to_{suffix}")(path, index=False)
    found = answers(job_of(path, keep=("client_id",)))
    assert found.column_names == ["client_id", "output"]
    assert found["client_id"].to_pylist() == FRAME["client_id"].tolist()
    assert found["output"].to_pylist() == envelope.query(X).tolist()


def test_the_newest_match_and_the_function_that_is_named(table: Path) -> None:
    save(predict)
    newest = save(predict)
    newest.add_query_function(scores, api_input=X)
    job = check(job_of(table))
    assert job.manifest.id == newest.id
    assert job.scoring.target.function == "predict"
    named = job_of(table).model_copy(update={"function": "scores"})
    assert answers(named).column_names == ["low", "high"]


def test_columns_are_carried_over_in_their_own_types(table: Path) -> None:
    save(predict)
    found = answers(job_of(table, keep="all"))
    assert found.column_names == ["client_id", "age", "income", "region", "output"]
    assert found["age"].type == pa.int64()


def test_a_whole_table_is_one_call(table: Path) -> None:
    save(share)
    found = answers(job_of(table, "share", whole_table=True, keep=("client_id",)))
    assert sum(found["output"].to_pylist()) == pytest.approx(1.0)
    assert found["client_id"].to_pylist() == FRAME["client_id"].tolist()


def test_one_value_for_a_whole_table_is_one_row(table: Path) -> None:
    save(total)
    found = answers(job_of(table, "total", whole_table=True))
    assert found.to_pylist() == [{"output": FRAME["income"].sum()}]


def test_a_group_is_answered_with_its_keys(table: Path) -> None:
    save(total)
    job = check(job_of(table, "total", group_by=("region",)))
    assert job.schema is not None and job.schema.names == ["region", "output"]
    us = pa.Table.from_pandas(FRAME[FRAME["region"] == "US"])
    (row,) = score(us, job.scoring).to_pylist()
    assert row == {"region": "US", "output": FRAME["income"][::2].sum()}


def test_an_async_function_is_waited_for(table: Path) -> None:
    async def later(frame: pd.DataFrame) -> pd.Series:
        await asyncio.sleep(0)
        return frame["income"] * 2

    saved = save(later)
    assert saved.query(X).tolist() == (X["income"] * 2).tolist()
    assert saved.load().default.row_wise.is_row_wise
    found = answers(job_of(table, "later", keep=("client_id",)))
    assert found["output"].to_pylist() == (FRAME["income"] * 2).tolist()


def test_tables_on_s3_come_and_go_with_the_nodes_own_credentials(s3: str) -> None:
    save(predict)
    folder = Folder(f"{s3}/clients")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(FRAME), sink)
    folder.write("2024/a.parquet", sink.getvalue().to_pybytes())
    found = answers(job_of(f"{s3}/clients/*/*.parquet", keep=("client_id",)))
    batch = "01J0000000000000000000000A"
    write_part(f"{s3}/out", batch, 0, [found], schema=found.schema, metadata={})
    assert me.read_table(f"{s3}/out", batch)["output"].tolist() == predict(X).tolist()


# -- what is wrong is found before a worker starts -----------------------------------------------


@pytest.mark.parametrize(
    "changes, error, message",
    [
        pytest.param(
            {"query": "tags.f = 'nothing'"},
            ModelNotFound,
            "batch job nightly: no envelope matches \"tags.f = 'nothing'\"; look with",
            id="no-match",
        ),
        pytest.param({"query": "tags.f ="}, QueryError, "column 9", id="query"),
        pytest.param(
            {"function": "other"},
            ModelNotFound,
            "no function 'other'; it has predict",
            id="function",
        ),
        pytest.param(
            {"input": BatchInput(path="/nowhere/*.csv")}, ConfigError, "matches no file", id="input"
        ),
        pytest.param(
            {"keep": ("clientid",)},
            SchemaError,
            r"lacks these columns:\n  'clientid', for keep_columns \(did you mean 'client_id'\?\)",
            id="kept-column",
        ),
        pytest.param(
            {"group_by": ("country",)}, SchemaError, "'country', for group_by", id="group-column"
        ),
        pytest.param(
            {"whole_table": True, "group_by": ("region",)}, ConfigError, "exclude", id="two-shapes"
        ),
    ],
)
def test_bad_jobs(table: Path, changes: dict[str, Any], error: type, message: str) -> None:
    save(predict)
    config = job_of(table, keep=changes.pop("keep", ())).model_copy(update=changes)
    with pytest.raises(error, match=message):
        check(config)


def test_an_input_without_the_functions_columns(tmp_path: Path) -> None:
    envelope = save(predict)
    FRAME[["client_id", "income"]].to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SchemaError) as caught:
        check(job_of(tmp_path / "a.csv"))
    assert str(caught.value) == (
        f"batch job nightly, function 'predict' of envelope {envelope.id}: "
        f"the input {tmp_path}/a.csv lacks these columns:\n"
        "  'age', for the function\n"
        "it has: 'client_id', 'income'"
    )


def test_an_input_of_other_types(tmp_path: Path) -> None:
    save(predict)
    FRAME.astype({"age": str}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=r"a\.parquet does not fit.*\n  age: expected int64, got"):
        check(job_of(tmp_path / "a.parquet"))


def test_a_whole_frame_function_says_what_to_add(table: Path) -> None:
    save(share)
    with pytest.raises(ConfigError, match=r"function 'share' .*is not row-wise.*whole_table: true"):
        check(job_of(table, "share"))


def test_one_value_has_no_rows_beside_it(table: Path) -> None:
    save(total)
    with pytest.raises(ConfigError, match=r"one value per call.*leave keep_columns out"):
        check(job_of(table, "total", whole_table=True, keep=("client_id",)))


def test_a_function_of_plain_parameters_has_no_place_for_a_table(table: Path) -> None:
    save(plain, api_input={"age": 1, "income": 2.0})
    with pytest.raises(ConfigError, match="does not take one DataFrame"):
        check(job_of(table, "plain"))


def test_an_answer_named_like_a_kept_column(tmp_path: Path) -> None:
    save(scores)
    FRAME.assign(low=0).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="two columns named 'low'"):
        check(job_of(tmp_path / "a.parquet", "scores", keep=("low",)))


def test_files_of_types_that_no_column_can_hold(tmp_path: Path) -> None:
    save(predict)
    FRAME.to_parquet(tmp_path / "a.parquet")
    FRAME.assign(region=[[1]] * 40).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match=r"files have different types.*region"):
        check(job_of(tmp_path / "*.parquet", keep=("region",)))


# -- what a worker meets -------------------------------------------------------------------------


def test_a_value_that_does_not_fit_is_named_by_file_and_row(tmp_path: Path) -> None:
    save(predict)
    X.to_parquet(tmp_path / "a.parquet")
    X.assign(age=[1.0] * 7 + [0.5] + [1.0] * 32).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaError) as caught:
        answers(job_of(tmp_path / "*.parquet"))
    (fault,) = caught.value.faults
    assert fault.path == "b.parquet, row 7, age"
    assert "int64" in fault.expected


def test_what_the_function_raises_is_said_with_its_rows(table: Path) -> None:
    envelope = save(picky, api_input=X.head(10))
    with pytest.raises(EnvelopeError) as caught:
        answers(job_of(table, "picky"))
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"the function 'picky' of envelope {envelope.id} raised ValueError: too old"
    )
    assert lines[1] == "for 0.parquet, row 0 to 3.parquet, row 9"
    assert "in picky" in lines[2]


def test_an_envelope_is_loaded_once_however_many_parts_there_are(table: Path) -> None:
    save(predict)
    load.cache_clear()
    job = check(job_of(table))
    for part in job.cut(4).parts:
        for block in read_part(job.reading, part):
            score(block, job.scoring)
            score(block, job.scoring)
    assert load.cache_info().misses == 1


# -- small things --------------------------------------------------------------------------------

JOBS = """
batch_jobs:
  nightly: {query: "id = 'x'", input: {path: /in}, output: {path: /out}}
  hourly: {query: "id = 'y'", input: {path: /in}, output: {path: /out2}}
"""


@pytest.mark.parametrize(
    "text, name, message",
    [
        pytest.param(JOBS, None, "several batch jobs; name one of nightly, hourly", id="which"),
        pytest.param(JOBS, "daily", "no batch job 'daily'; it has nightly, hourly", id="unknown"),
        pytest.param("rules: {}", None, "has no batch_jobs", id="none"),
    ],
)
def test_which_job_of_a_file(tmp_path: Path, text: str, name: str | None, message: str) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_job(tmp_path / "jobs.yaml", name)


def test_a_job_of_a_file_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    name, config = read_job(tmp_path / "jobs.yaml", "hourly")
    assert (name, config.output.path) == ("hourly", "/out2")


def test_time_per_row_is_known_from_the_sample(table: Path) -> None:
    save(predict)
    function = check(job_of(table)).function
    assert function.call_ms is not None
    assert row_ms(function) == pytest.approx(function.call_ms / len(function.sample.input))
    assert row_ms(msgspec.structs.replace(function, sample=None)) is None


def test_files_known_to_be_empty_are_not_read(table: Path) -> None:
    save(predict)
    FRAME.head(0).to_parquet(table / "empty.parquet")
    job = check(job_of(table))
    assert [file.path for file in job.files] == [f"{n}.parquet" for n in range(4)]
    assert job.n_rows == 40


def test_a_file_that_is_gone_when_it_is_looked_at(table: Path) -> None:
    save(predict)
    (table / "9.parquet").symlink_to(table / "nothing.parquet")
    with pytest.raises(StorageError, match=r"9\.parquet"):
        check(job_of(table))
