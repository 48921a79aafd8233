from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard
from sklearn.linear_model import LinearRegression

import envelope as me
from envelope.connection import connect
from envelope.errors import (
    ConfigError,
    DependencyError,
    EnvelopeError,
    IntegrityError,
    SchemaError,
    SerializationError,
    StorageError,
)
from envelope.manifest import Function
from envelope.schema import types as t

pytestmark = pytest.mark.usefixtures("by_value")

RANDOM = np.random.default_rng(0)
X = pd.DataFrame(RANDOM.normal(size=(50, 2)), columns=["a", "b"])
Y = 2 * X["a"] - X["b"]
MODEL = LinearRegression().fit(X, Y)


def double(x: float) -> float:
    """Double a number.

    Of any size.
    """
    return 2 * x


def total(features: pd.DataFrame) -> float:
    return float(features["a"].sum())


def save(**changes: Any) -> me.Envelope:
    arguments: dict[str, Any] = {"name": "m", "query_function": total, "api_input": X, **changes}
    return me.save_model(**arguments)


def default(envelope: me.Envelope) -> Function:
    return next(iter(envelope.functions.values()))


@pytest.fixture
def features_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A local module that pip cannot install."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "my_features.py").write_text(
        "def ratio(frame):\n    return frame['a'] / frame['b']\n"
        "def predict(frame):\n    return ratio(frame).to_numpy()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    import my_features  # type: ignore[import-not-found]  # written above

    yield my_features
    sys.modules.pop("my_features", None)


# What is captured


def test_a_model_and_its_method() -> None:
    envelope = me.save_model(
        name="ltv",
        description="Predicts",
        model=MODEL,
        query_function="predict",
        api_input=X,
        tags={"region": "US"},
        hyperparameters={"alpha": np.float64(0.5), "layers": (3, np.int64(4)), "name": None},
    )
    manifest = envelope.manifest
    assert (manifest.name, manifest.description, manifest.created_by) == (
        *("ltv", "Predicts"),
        "tester@here",
    )
    assert manifest.hyperparameters == {"alpha": 0.5, "layers": [3, 4], "name": None}
    assert manifest.artifact.type == "sklearn.linear_model._base.LinearRegression"
    assert manifest.environment.python == ".".join(map(str, sys.version_info[:3]))
    assert "scikit-learn" in {package.name for package in manifest.environment.packages}
    assert manifest.context["git"]["commit"]
    assert envelope.tags == {"region": "US"}
    function = default(envelope)
    assert (function.name, function.attribute) == ("predict", "predict")
    assert function.row_wise.is_row_wise, function.row_wise.reason
    assert function.statistics["input"]["rows"] == 50
    assert function.statistics["output"]["rows"] == 50
    assert function.call_ms and function.call_ms > 0
    assert function.is_deterministic
    assert function.sample
    assert function.sample.input == X.head(5).to_dict("records")
    np.testing.assert_allclose(function.sample.output, MODEL.predict(X.head(5)))


def test_a_function_with_annotations_needs_no_example() -> None:
    function = default(save(query_function=double, api_input=3.0))
    assert (function.name, function.attribute) == ("double", None)
    assert function.description == "Double a number."
    assert function.source and function.source.startswith("def double")
    assert function.sample and (function.sample.input, function.sample.output) == ({"x": 3.0}, 6.0)
    bare = default(me.save_model(name="m", query_function=double))
    assert bare.schema == function.schema
    assert bare.sample is None
    assert bare.no_sample_reason == "no example of a whole call was given"


def test_a_function_that_takes_the_whole_frame() -> None:
    function = default(save())
    assert not function.row_wise.is_row_wise
    assert function.sample and function.sample.output == pytest.approx(X["a"][:5].sum())


def test_a_function_that_is_made_on_the_spot() -> None:
    weight = 3.0
    envelope = save(query_function=lambda frame: frame["a"] * weight)
    assert list(envelope.functions) == ["query"]
    assert envelope.query(X).tolist() == (X["a"] * 3).tolist()


def test_several_parameters() -> None:
    def scaled(frame: pd.DataFrame, factor: float = 1.0) -> list[float]:
        return [value * factor for value in frame["a"]]

    function = default(save(query_function=scaled, api_input={"frame": X, "factor": 2.0}))
    assert function.sample
    assert function.sample.input["factor"] == 2.0
    assert len(function.sample.input["frame"]) == len(function.sample.output) == 5


def test_labels_of_another_kind_than_the_answers_are_accepted() -> None:
    def both(frame):  # type: ignore[no-untyped-def]  # the examples say it
        return frame.to_numpy()

    envelope = save(query_function=both, api_output=Y)
    np.testing.assert_array_equal(envelope.query(X), X.to_numpy())
    assert default(envelope).statistics["output"]["rows"] == 50


def test_a_function_that_needs_many_rows_is_tried_on_many() -> None:
    def smooth(frame: pd.DataFrame) -> float:
        if len(frame) < 30:
            raise ValueError("at least 30 rows")
        return float(frame["a"].mean())

    function = default(save(query_function=smooth))
    assert function.sample and len(function.sample.input) == 50


def test_a_function_that_answers_differently_is_noted() -> None:
    count = itertools.count()

    def drift(x: float) -> float:
        return x + next(count)

    assert default(save(query_function=drift, api_input=1.0)).is_deterministic is False


def test_a_slow_function_is_announced_and_a_very_slow_one_not_proved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(frame: pd.DataFrame) -> list[float]:
        time.sleep(0.08)
        return frame["a"].tolist()

    assert default(save(query_function=slow)).row_wise.is_row_wise
    assert "trying slow on its example: about 14 calls" in capsys.readouterr().err
    monkeypatch.setattr("envelope.trial.MAX_PROOF_S", 1.0)
    assert "not tried: one call takes" in default(save(query_function=slow)).row_wise.reason


def test_the_example_is_never_altered() -> None:
    def spoil(frame: pd.DataFrame) -> float:
        frame["c"] = 1.0
        frame.loc[:, "a"] = 0.0
        return float(frame["c"].sum())

    before = X.copy()
    save(query_function=spoil)
    pd.testing.assert_frame_equal(X, before)


def test_a_large_example_is_described_whole_and_tried_in_part() -> None:
    sizes: list[int] = []

    def predict(frame):  # type: ignore[no-untyped-def]  # the examples say it
        sizes.append(len(frame))
        return frame["a"]

    large = pd.DataFrame({"a": np.arange(20_000.0)})
    function = default(save(query_function=predict, api_input=large))
    assert function.statistics["input"]["rows"] == 20_000
    assert function.statistics["input"]["columns"]["a"]["max"] == 19_999
    assert max(sizes) <= 1000


@pytest.mark.parametrize(
    ("sample", "rows"),
    [
        pytest.param(True, 5, id="default"),
        pytest.param(2, 2, id="number"),
        pytest.param(30, 30, id="many"),
    ],
)
def test_as_many_sample_rows_as_asked_for(sample: bool | int, rows: int) -> None:
    function = default(save(query_function="predict", model=MODEL, sample=sample))
    assert function.sample and len(function.sample.input) == rows


@pytest.mark.parametrize("sample", [False, 0])
def test_no_sample_when_none_is_wanted(sample: bool | int) -> None:
    function = default(save(sample=sample))
    assert function.sample is None
    assert function.no_sample_reason == "sample=False"


def everything_written(home: Path) -> bytes:
    """All that a save has put below ENVELOPE_HOME, decompressed."""
    store = connect().store
    blobs = [
        store.get_blob(path.name)
        for path in (home / "store" / "blobs").rglob("*")
        if path.is_file()
    ]
    plain = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    return b"".join(blobs + plain)


def test_sensitive_columns_leave_no_value(home: Path) -> None:
    frame = pd.DataFrame({"age": [41.5, 97.125] * 10, "street": ["Elm Row", "Oak Lane"] * 10})

    def count(people: pd.DataFrame) -> int:
        return len(people)

    envelope = save(query_function=count, api_input=frame, sensitive=["age", "street"])
    function = default(envelope)
    assert function.sample is None
    assert function.no_sample_reason == "columns are marked sensitive"
    assert envelope.manifest.sensitive == ("age", "street")
    written = everything_written(home)
    assert b"people" in written  # it is the right place to look in
    for value in (b"97.125", b"Elm Row"):
        assert value not in written


def test_local_modules_travel(features_module: ModuleType) -> None:
    envelope = save(query_function=features_module.predict, modules=[features_module])
    (module,) = envelope.manifest.environment.modules
    assert module.name == "my_features"
    assert envelope.query(X).tolist() == (X["a"] / X["b"]).tolist()


def test_a_local_module_that_is_not_passed_is_named(features_module: ModuleType) -> None:
    with pytest.raises(DependencyError, match="my_features"):
        save(query_function=features_module.predict)


def test_what_a_script_defines_travels_by_value(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        """
import pandas as pd
import envelope as me

WEIGHT = 3.0

class Model:
    def predict(self, frame: pd.DataFrame) -> list[float]:
        return [WEIGHT * value for value in frame["a"]]

frame = pd.DataFrame({"a": [1.0, 2.0]})
print(me.save_model(name="m", model=Model(), query_function="predict", api_input=frame).id)
"""
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=os.environ, timeout=120
    )
    assert done.returncode == 0, done.stderr
    envelope = me.get(done.stdout.strip())
    assert envelope.manifest.context["script"].endswith("train.py")
    assert envelope.query(pd.DataFrame({"a": [5.0]})) == [15.0]


def test_equal_bytes_are_stored_once(home: Path) -> None:
    save(query_function="predict", model=MODEL)
    blobs = {path.name for path in (home / "store" / "blobs").rglob("*") if path.is_file()}
    save(query_function="predict", model=MODEL)
    again = {path.name for path in (home / "store" / "blobs").rglob("*") if path.is_file()}
    assert again == blobs


# What is refused


class Unpicklable:
    def __init__(self) -> None:
        self.steps = {"lock": threading.Lock()}

    def predict(self, x: float) -> float:
        return x


def failing(frame: pd.DataFrame) -> float:
    raise KeyError("no_such_column")


def promises_text(x: float) -> str:
    return x  # type: ignore[return-value]  # that is the point


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param(
            {"model": MODEL, "query_function": "predct"},
            EnvelopeError,
            r"LinearRegression\.predct does not exist; query_function can be predict",
            id="unknown-method",
        ),
        pytest.param(
            {"query_function": failing},
            SchemaError,
            r"failing fails on its own example: KeyError: 'no_such_column'",
            id="fails-on-its-example",
        ),
        pytest.param(
            {"model": Unpicklable(), "query_function": "predict", "api_input": 1.0},
            SerializationError,
            r"model\.steps\['lock'\] cannot be pickled: it is a _thread\.lock",
            id="unpicklable",
        ),
        pytest.param(
            {"query_function": promises_text, "api_input": 1.0},
            SchemaError,
            "promises_text answers something else than its schema says",
            id="broken-promise",
        ),
        pytest.param(
            {"tags": {"version": 3}},
            ConfigError,
            r"tag 'version' is int 3, and tags are strings; write str\(\.\.\.\)",
            id="tag-not-a-string",
        ),
        pytest.param({"tags": {"": "x"}}, ConfigError, "empty", id="tag-without-a-name"),
        pytest.param(
            {"hyperparameters": {"a": {"b": X}, "c": float("nan"), "d": {1: 2}}},
            EnvelopeError,
            r"hyperparameters\['a'\]\['b'\] is a DataFrame\n.*\['c'\] is nan\n.*key 1 is a int",
            id="hyperparameters",
        ),
        pytest.param(
            {"hyperparameters": {"a": "\ud800", "\udfff": 1, "big": 2**70}},
            EnvelopeError,
            r"key .* holds half.*\n.*'a'\] holds half a surrogate.*\n.*more than 64 bits",
            id="hyperparameters-no-json",
        ),
        pytest.param(
            {"sample": -1}, ConfigError, "sample is -1; give True, False, or", id="sample"
        ),
        pytest.param({"name": " "}, ConfigError, "name is empty; say what", id="empty-name"),
        pytest.param(
            {"sensitive": ["aeg"]},
            SchemaError,
            "names what is in no example: 'aeg'; the names there are a, b",
            id="sensitive-misspelt",
        ),
        pytest.param({"name": 3}, ConfigError, "name is int 3, not a string", id="name"),
        pytest.param(
            {"modules": ["no_such_module_here"]},
            DependencyError,
            "no_such_module_here",
            id="module",
        ),
    ],
)
def test_bad_input_is_explained_and_nothing_is_saved(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        save(**arguments)
    assert list(me.find()) == []
    assert list(connect().store.envelope_ids()) == []


def test_a_missing_example_says_what_to_add() -> None:
    with pytest.raises(SchemaError, match="api_input"):
        me.save_model(name="m", model=MODEL, query_function="predict")


def test_what_the_function_raised_is_chained() -> None:
    with pytest.raises(SchemaError) as caught:
        save(query_function=failing)
    assert isinstance(caught.value.__cause__, KeyError)


# What fails on the way


def test_a_store_that_cannot_be_written_saves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    (home / "store").write_text("in the way")
    with pytest.raises(StorageError, match="store"):
        save()
    (home / "store").unlink()
    assert list(me.find()) == []


@pytest.mark.parametrize("written", range(6))
def test_a_disk_that_fills_up_half_way_saves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Whatever number of files had been written: no row, no manifest, no temporary file."""
    save(tags={"first": "yes"})
    real, left = os.fsync, itertools.count(written, -1)

    def fills_up(fd: int) -> None:
        if next(left) <= 0:
            raise OSError(28, "No space left on device")
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr("envelope.folder.os.fsync", fills_up)
        try:
            save(query_function="predict", model=MODEL, tags={"second": "yes"})
        except StorageError as exc:
            assert "free some space" in str(exc)
            survivors = [envelope.tags for envelope in me.find()]
            assert survivors == [{"first": "yes"}]
            assert len(list(connect().store.envelope_ids())) == 1
        else:
            assert len(list(me.find())) == 2  # it all fitted in
    assert not list((home / "store").rglob("*.tmp"))


def test_a_registry_that_is_gone_leaves_no_envelope_to_find(home: Path) -> None:
    save()
    with connect().registry.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE tags")
    with pytest.raises(StorageError):
        save()


# Functions that are added


def test_another_method_can_be_added() -> None:
    envelope = save(query_function="predict", model=MODEL)
    envelope.add_query_function("score", api_input={"X": X, "y": Y})
    assert list(envelope.functions) == ["predict", "score"]
    assert envelope.query(X, Y, function="score") == pytest.approx(1.0)
    again = me.get(envelope.id)
    assert list(again.functions) == ["predict", "score"]
    assert again.manifest.functions.keys() == {"predict"}  # the manifest is as it was saved


def test_a_function_can_be_added_under_a_name() -> None:
    envelope = save(query_function="predict", model=MODEL)
    envelope.add_query_function(total, "sum_of_a", api_input=X)
    assert envelope.query(X, function="sum_of_a") == pytest.approx(X["a"].sum())
    assert envelope.functions["sum_of_a"].artifact is not None


def test_a_function_is_never_replaced() -> None:
    envelope = save(query_function="predict", model=MODEL)
    before = envelope.functions["predict"]
    with pytest.raises(EnvelopeError, match="has a function 'predict' already"):
        envelope.add_query_function(total, "predict", api_input=X)
    assert me.get(envelope.id).functions["predict"] == before


def test_an_added_function_may_need_no_other_package() -> None:
    envelope = save(query_function=double, api_input=1.0)

    def fit(frame: pd.DataFrame) -> float:
        from sklearn.linear_model import LinearRegression

        return float(LinearRegression().fit(frame, frame["a"]).intercept_)

    with pytest.raises(DependencyError, match=r"scikit-learn .* \(locked: not at all\)"):
        envelope.add_query_function(fit, api_input=X)


def test_added_functions_keep_the_envelopes_secrets() -> None:
    envelope = save(query_function="predict", model=MODEL, sensitive=["a"])
    envelope.add_query_function(total, api_input=X)
    assert envelope.functions["total"].no_sample_reason == "columns are marked sensitive"
    unsampled = save(query_function="predict", model=MODEL, sample=False)
    unsampled.add_query_function(total, api_input=X)
    assert unsampled.functions["total"].no_sample_reason == "sample=False"


def test_a_changed_manifest_is_refused(home: Path) -> None:
    envelope = save()
    path = home / "store" / "envelopes" / envelope.id / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"name":"m"', b'"name":"n"'))
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        _ = me.get(envelope.id).manifest


def test_an_example_that_json_cannot_hold_is_saved_without_a_sample() -> None:
    def clip(frame: pd.DataFrame) -> pd.Series:
        return frame["x"].clip(0, 1)

    saved = me.save_model(
        name="clip", query_function=clip, api_input=pd.DataFrame({"x": [1.0, float("inf")] * 8})
    )
    function = saved.functions["clip"]
    assert function.sample is None
    assert "JSON cannot hold the example" in str(function.no_sample_reason)


def test_levels_of_a_sensitive_category_are_kept_nowhere(home: Path) -> None:
    frame = pd.DataFrame({"street": pd.Categorical(["Elm Row", "Oak Lane"] * 10)})

    def count(people: pd.DataFrame) -> int:
        return len(people)

    with pytest.raises(SchemaError, match=r"df\['street'\].astype\('str'\)"):
        save(query_function=count, api_input=frame, sensitive=["street"])


def test_any_is_what_the_example_and_the_answer_say() -> None:
    def predict(X: Any, scale: float = 2.0) -> Any:
        return X["a"].to_numpy() * scale

    frame = pd.DataFrame({"a": np.arange(10.0)})
    envelope = save(query_function=predict, api_input=frame)
    schema = default(envelope).schema
    assert isinstance(schema.parameters[0].type, t.Frame)
    assert isinstance(schema.output, t.Array)
    assert envelope.query(frame).tolist() == (frame["a"] * 2).tolist()


def test_any_of_json_stays_any() -> None:
    def count(x: Any) -> Any:
        return {"n": len(x)}

    schema = default(save(query_function=count, api_input=[1, "a"])).schema
    assert schema.parameters[0].type == schema.output == t.Anything()


def test_no_credential_of_an_index_is_in_the_envelope(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nothing that pip or uv keep: settings, variables, the address of a package."""
    secret = "hunter2"
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"):
        monkeypatch.setenv(name, f"https://me:{secret}@host/simple")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = https://me:{secret}@host/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    info = tmp_path / "site-packages" / "private_tools-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "private_tools.py").write_text("def half(x): return x / 2\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: private-tools\nVersion: 1.0\n")
    (info / "RECORD").write_text("private_tools.py,,\n")
    address = f"https://me:{secret}@host/private_tools-1.0-py3-none-any.whl?token={secret}"
    (info / "direct_url.json").write_text(json.dumps({"url": address, "archive_info": {}}))
    monkeypatch.syspath_prepend(info.parent)
    import private_tools  # type: ignore[import-not-found]  # written above

    def half(x: float) -> float:
        return float(private_tools.half(x))

    envelope = save(query_function=half, api_input=1.0)
    (package,) = [p for p in envelope.manifest.environment.packages if p.name == "private-tools"]
    assert package.origin == "https://host/private_tools-1.0-py3-none-any.whl"
    sys.modules.pop("private_tools")
    for path in home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if data.startswith(b"\x28\xb5\x2f\xfd"):
                data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            assert secret.encode() not in data, path
