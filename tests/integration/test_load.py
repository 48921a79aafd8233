from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import envelope as me
from envelope.connection import connect
from envelope.errors import (
    DependencyError,
    EnvelopeError,
    IntegrityError,
    ModelNotFound,
    SchemaError,
)
from envelope.load import check_here, load_envelope, make_importable
from envelope.manifest import Environment, LocalModule, Package

X = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) ** 2})
MODEL = LinearRegression().fit(X, X["a"])


@pytest.fixture
def envelope() -> me.Envelope:
    return me.save_model(name="m", model=MODEL, query_function="predict", api_input=X)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; what is imported from anywhere meanwhile is forgotten."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0].startswith("local_"):
            del sys.modules[name]


def import_written(folder: Path, name: str, text: str) -> ModuleType:
    (folder / f"{name}.py").write_text(text)
    sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))  # before what an envelope has put there
    sys.path_importer_cache.clear()
    return __import__(name)


def forget(folder: Path, name: str) -> None:
    """As in another process: not imported, and not on the path."""
    del sys.modules[name]
    (folder / f"{name}.py").unlink()
    sys.path_importer_cache.clear()


def file_of(home: Path, *parts: str) -> Path:
    return home.joinpath("store", *parts)


# What is loaded


def test_a_loaded_envelope_answers_as_the_model_did(envelope: me.Envelope) -> None:
    loaded = envelope.load()
    np.testing.assert_array_equal(loaded.model.coef_, MODEL.coef_)
    assert loaded.default.name == "predict"
    np.testing.assert_allclose(loaded.default.call(X=X), MODEL.predict(X))
    np.testing.assert_allclose(loaded.default.query(X), MODEL.predict(X))


def test_it_needs_the_store_alone(envelope: me.Envelope) -> None:
    loaded = load_envelope(connect().store, envelope.id)
    assert loaded.manifest == envelope.manifest
    assert loaded.functions.keys() == {"predict"}


def test_only_the_functions_wanted_are_loaded(envelope: me.Envelope) -> None:
    envelope.add_query_function("score", api_input={"X": X, "y": X["a"]})
    store, row = connect().store, connect().registry.envelope(envelope.id)
    both = load_envelope(store, envelope.id, function_hashes=row.functions)
    assert both.functions.keys() == {"predict", "score"}
    assert both.functions["score"].call.__self__ is both.model  # one object, loaded once
    assert load_envelope(store, envelope.id).functions.keys() == {"predict"}
    with pytest.raises(EnvelopeError, match="default function 'predict' is not among"):
        load_envelope(store, envelope.id, function_hashes={"score": row.functions["score"]})


def test_checks_are_compiled_once_and_refuse_what_does_not_fit(envelope: me.Envelope) -> None:
    function = envelope.load().default
    assert function.checker_for() is function.checker_for("refuse")
    assert function.checker_for("ignore") is not function.checker_for("refuse")
    with pytest.raises(SchemaError, match=r"\bb\b"):
        function.query(X[["a"]])
    body = b'[{"a": 1.0, "b": 1.0, "c": 2}]'
    assert function.checker_for("ignore").read_json(body).n_rows == 1
    with pytest.raises(SchemaError):
        function.checker_for("refuse").read_json(body)


def test_an_unknown_function_names_those_there_are(envelope: me.Envelope) -> None:
    with pytest.raises(ModelNotFound, match="no function 'predict_proba'; it has predict"):
        envelope.query(X, function="predict_proba")


# What is checked


def test_an_unknown_envelope_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="holds no envelope"):
        load_envelope(connect().store, "01JD0000000000000000000000")


def test_a_changed_model_is_refused_before_it_is_unpickled(
    envelope: me.Envelope, home: Path, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    from envelope import artifacts

    store = connect().store
    bomb = artifacts.encode(Bomb(), store).blobs[0].sha256
    true = envelope.manifest.artifact.blobs[0].sha256
    swapped = file_of(home, "blobs", bomb[:2], bomb).read_bytes()
    file_of(home, "blobs", true[:2], true).write_bytes(swapped)
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        envelope.load()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["manifest.json", "functions/predict.json"])
def test_changed_records_are_refused(envelope: me.Envelope, home: Path, name: str) -> None:
    path = file_of(home, "envelopes", envelope.id, *name.split("/"))
    path.write_bytes(path.read_bytes().replace(b"predict", b"perdict"))
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        me.get(envelope.id).load()


def test_a_half_written_envelope_is_none(envelope: me.Envelope, home: Path) -> None:
    file_of(home, "envelopes", envelope.id, "manifest.json").unlink()
    assert list(connect().store.envelope_ids()) == []
    with pytest.raises(ModelNotFound, match="holds no envelope"):
        me.get(envelope.id).load()


def environment(**changes: Any) -> Environment:
    here = ".".join(map(str, sys.version_info[:3]))
    return Environment(
        **{
            "python": here,
            "implementation": "CPython",
            "platform": "linux-x86_64",
            "packages": (),
            **changes,
        }
    )


def test_the_same_environment_is_accepted() -> None:
    here = Package(name="numpy", version=np.__version__)
    check_here(environment(packages=(here,)), "ID")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        pytest.param({"python": "3.9.1"}, r"saved with Python 3\.9\.1, this is 3\.1", id="python"),
        pytest.param(
            {
                "packages": (
                    Package(name="numpy", version="0.1"),
                    Package(name="no-such", version="2"),
                )
            },
            r"(?s)numpy: locked 0\.1, installed .*no-such: locked 2, not installed.*"
            "check_environment=False",
            id="packages",
        ),
    ],
)
def test_another_environment_is_refused_with_every_difference(
    saved: dict[str, Any], message: str
) -> None:
    with pytest.raises(DependencyError, match=message):
        check_here(environment(**saved), "ID")


def test_a_long_list_of_differences_is_cut() -> None:
    packages = tuple(Package(name=f"no-such-{n}", version="1") for n in range(30))
    with pytest.raises(DependencyError, match="and 10 more"):
        check_here(environment(packages=packages), "ID")


def test_another_environment_can_be_accepted_on_purpose(
    envelope: me.Envelope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envelope.load.installed_packages", lambda: {"numpy": "0.1"})
    with pytest.raises(DependencyError, match=r"installed 0\.1"):
        envelope.query(X)
    assert envelope.load(check_environment=False).default.query(X).shape == (20,)


# Local modules


FEATURES = "def predict(frame):\n    return frame['a'] * {factor}\n"


def test_local_modules_are_importable_where_they_were_not(code: Path, home: Path) -> None:
    module = import_written(code, "local_features", FEATURES.format(factor=2))
    envelope = me.save_model(name="m", query_function=module.predict, api_input=X, modules=[module])
    forget(code, "local_features")
    assert envelope.query(X).tolist() == (X["a"] * 2).tolist()
    (blob,) = [module.blob for module in envelope.manifest.environment.modules]
    assert (home / "modules" / blob.sha256 / "local_features.py").is_file()
    assert not list((home / "modules").glob(".unpacking-*"))


def test_another_version_of_a_module_is_not_mixed_up(code: Path) -> None:
    module = import_written(code, "local_features", FEATURES.format(factor=2))
    envelope = me.save_model(name="m", query_function=module.predict, api_input=X, modules=[module])
    assert envelope.query(X).tolist() == (X["a"] * 2).tolist()  # the same one may be imported
    import_written(code, "local_features", FEATURES.format(factor=1000))
    with pytest.raises(DependencyError, match="module local_features that is imported here"):
        me.get(envelope.id).query(X)


def test_many_processes_may_unpack_at_once(code: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import_written(code, "local_features", FEATURES.format(factor=2))
    from envelope.capture import pack_module

    name, data = pack_module("local_features")
    forget(code, "local_features")
    store = connect().store
    module = LocalModule(name=name, blob=store.put_blob(data))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: make_importable(store, [module], tmp_path / "m"), range(16)))
    assert [path.name for path in (tmp_path / "m").iterdir()] == [module.blob.sha256]


def test_a_home_that_cannot_be_written_is_no_obstacle(
    code: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_written(code, "local_features", FEATURES.format(factor=2))
    envelope = me.save_model(name="m", query_function=module.predict, api_input=X, modules=[module])
    forget(code, "local_features")
    (home / "modules").write_text("in the way")
    assert envelope.query(X).tolist() == (X["a"] * 2).tolist()


def test_a_manifest_of_a_newer_format_says_to_upgrade(envelope: me.Envelope, home: Path) -> None:
    path = file_of(home, "envelopes", envelope.id, "manifest.json")
    raw = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**raw, "format_version": 99}))
    with pytest.raises(IntegrityError, match=r"format version 99.*upgrade model-envelope"):
        load_envelope(connect().store, envelope.id)
