from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

import envelope as me
from envelope.capture.datasets import SLICE_ROWS, describe_datasets
from envelope.cli import make_group
from envelope.errors import ConfigError

FRAME = pd.DataFrame({"a": np.arange(5.0), "b": ["x", None, "z", "x", "y"]})


def described(dataset: Any) -> dict[str, Any]:
    found: dict[str, Any] = describe_datasets({"train": dataset})["train"]
    return found


def test_a_frame_is_known_by_its_content() -> None:
    found = described(FRAME)
    assert (found["kind"], found["rows"], found["columns"]) == ("frame", 5, 2)
    assert described(FRAME.copy())["sha256"] == found["sha256"]
    for other in (FRAME[:4], FRAME[["b", "a"]], FRAME.assign(a=FRAME["a"] + 1)):
        assert described(other)["sha256"] != found["sha256"]


def test_how_a_table_is_chunked_does_not_matter() -> None:
    whole = pa.table({"a": np.arange(3 * SLICE_ROWS), "b": [None, "x", "y"] * SLICE_ROWS})
    parts = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 100_000), whole.slice(100_007)])
    assert described(parts) == described(whole)


def test_a_file_and_a_folder_are_known_by_their_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "0.csv").write_text("a\n1\n")
    one = described(first / "part" / "0.csv")
    assert one["kind"] == "file" and one["size_bytes"] == 4
    assert one["uri"] == (first / "part" / "0.csv").as_uri()
    assert one["sha256"] == described(str(second / "part" / "0.csv"))["sha256"]
    folder = described(first)
    assert folder["files"] == 1 and folder["sha256"] == described(second.as_uri())["sha256"]
    (second / "part" / "0.csv").rename(second / "part" / "1.csv")
    assert described(second)["sha256"] != folder["sha256"]


def test_an_object_in_a_store_is_known_by_its_etag(s3: str) -> None:
    bucket = s3.split("/")[2]
    boto3.client("s3").put_object(Bucket=bucket, Key="x.csv", Body=b"a\n1\n")
    found = described(f"s3://{bucket}/x.csv")
    assert found["size_bytes"] == 4 and len(found["etag"]) == 32 and found["modified_at"]
    assert described(f"s3://{bucket}/y.csv")["reason"] == "nothing is there"


def test_an_address_that_cannot_be_asked_is_kept_without_its_secrets() -> None:
    uri = "table:sales.clients"
    assert described(uri) == {"kind": "uri", "uri": uri}
    found = described("wh://me:secret@host/db?sig=secret")
    assert found == {"kind": "uri", "uri": "wh://host/db", "reason": "ValueError"}


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        pytest.param({"train": "no/such.csv"}, "there is no .*such.csv; give a file", id="absent"),
        pytest.param({"train": 3}, r"datasets\['train'\] is a int that Arrow", id="number"),
        pytest.param({"train": pd.DataFrame({"a": [1, "secret"]})}, "is a DataFrame", id="mixed"),
        pytest.param({1: FRAME}, "a dict of names", id="name"),
        pytest.param("s3://x", "a dict of names", id="no-dict"),
    ],
)
def test_what_is_no_dataset_says_what_is(datasets: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        describe_datasets(datasets)
    assert "secret" not in str(caught.value)


def test_a_saved_model_is_found_by_what_it_was_trained_on() -> None:
    def double(x: float) -> float:
        return 2 * x

    envelope = me.save_model(
        name="m", query_function=double, api_input={"x": 1.0}, datasets={"train": FRAME}
    )
    sha256 = envelope.manifest.datasets["train"]["sha256"]
    assert [e.id for e in me.find(f"datasets.train.sha256 = '{sha256}'")] == [envelope.id]
    assert [e.id for e in me.find("datasets.train.rows > 4")] == [envelope.id]
    assert not list(me.find("datasets.train.rows > 5"))
    shown = CliRunner().invoke(make_group(), ["show", envelope.id])
    assert f"train: 5 rows x 2 columns {sha256[:12]}" in shown.output


def test_a_diff_shows_other_data_and_other_coefficients() -> None:
    from sklearn.linear_model import LinearRegression

    X = FRAME[["a"]]
    one, other = (
        me.save_model(
            name="m",
            model=LinearRegression().fit(X, slope * X["a"]),
            query_function="predict",
            api_input=X,
            datasets={"train": X.assign(y=slope * X["a"])},
        )
        for slope in (2.0, 3.0)
    )
    found = one.diff(other)
    assert "fitted.coef_" in {change.name for change in found.fitted}
    assert [change.name for change in found.datasets] == ["train.sha256"]
    assert "datasets" in str(found)


def test_fitted_parameters_are_in_the_manifest_and_cost_no_fact() -> None:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(FRAME[["a"]], FRAME["a"])
    envelope = me.save_model(
        name="m", model=model, query_function="predict", api_input=FRAME[["a"]]
    )
    assert me.get(envelope.id).manifest.fitted["fitted"]["coef_"] == pytest.approx([1.0])
    hidden = me.save_model(
        name="m",
        model=model,
        query_function="predict",
        api_input=FRAME[["a"]],
        sensitive=["a"],
    )
    assert "fitted" not in hidden.manifest.fitted and hidden.manifest.fitted["params"]
