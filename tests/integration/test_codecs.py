"""What the codecs do, and do not do, for the libraries that the tests have installed.

Frameworks with environments of their own: tests/frameworks.
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import envelope as me
from envelope import artifacts
from envelope.artifacts.native import Builder, Codec, find_codec
from envelope.errors import IntegrityError
from envelope.store import Store

RANDOM = np.random.default_rng(0)
X = pd.DataFrame(RANDOM.normal(size=(200, 4)), columns=list("abcd"))
Y = (X["a"] > 0).astype(int)
CLASSIFIER = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(
    X, Y, eval_X=X, eval_y=Y, callbacks=[lightgbm.early_stopping(1, verbose=False)]
)

LOAD = """
import pickle, sys
import envelope as me
function = me.get(sys.argv[1]).load().default
X = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(function.call(X)))
"""


def answer_elsewhere(envelope: me.Envelope, tmp_path: Path) -> np.ndarray:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, envelope.id],
        input=pickle.dumps(X),
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: np.ndarray = pickle.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("model", "function", "example"),
    [
        pytest.param(CLASSIFIER, "predict_proba", X, id="lightgbm"),
        pytest.param(CLASSIFIER.booster_, "predict", X, id="lightgbm-booster"),
        pytest.param(
            make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(n_estimators=5, verbose=-1))
            .set_output(transform="pandas")
            .fit(X, X["b"]),
            "predict",
            X,
            id="lightgbm-in-a-pipeline",
        ),
        pytest.param(RandomForestClassifier(5).fit(X, Y), "predict_proba", X, id="sklearn"),
        pytest.param(
            sm.OLS(X["a"], X).fit(), "predict", {"exog": X, "transform": True}, id="statsmodels"
        ),
    ],
)
def test_a_model_answers_the_same_in_another_process(
    model: object, function: str, example: object, tmp_path: Path
) -> None:
    envelope = me.save_model(name="m", model=model, query_function=function, api_input=example)
    expected = np.asarray(getattr(model, function)(X))
    assert np.asarray(answer_elsewhere(envelope, tmp_path)).tobytes() == expected.tobytes()


# Why these have no codec: artifacts/native.py


def test_a_pickled_lightgbm_model_holds_its_own_text_and_more() -> None:
    text = CLASSIFIER.booster_.model_to_string(num_iteration=-1)
    assert text.encode() in pickle.dumps(CLASSIFIER, protocol=5)
    alone = lightgbm.Booster(model_str=text)
    assert (alone.best_iteration, alone.best_score) == (-1, {})
    copy = pickle.loads(pickle.dumps(CLASSIFIER)).booster_
    assert (copy.best_iteration, copy.best_score) == (
        CLASSIFIER.booster_.best_iteration,
        CLASSIFIER.booster_.best_score,
    )
    assert copy.best_iteration > 0 and copy.best_score


def test_statsmodels_own_format_is_a_pickle() -> None:
    file = io.BytesIO()
    sm.OLS(X["a"], X).fit().save(file)
    file.seek(0)
    assert type(pickle.load(file)).__name__ == "RegressionResultsWrapper"


# Documents


def scorer_of(path: Path) -> object:
    def size(X: pd.DataFrame) -> list[str]:
        return [path.read_text()] * len(X)

    return size


@pytest.mark.parametrize("suffix", [".pmml", ".PMML", ".onnx"])
def test_a_document_travels_as_it_is(
    by_value: None, home: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_text("<PMML/>")
    envelope = me.save_model(name="m", query_function=scorer_of(path), api_input=X)  # type: ignore[arg-type]
    path.unlink()
    (part,) = envelope.manifest.artifact.parts
    assert (part.codec, part.blobs[0].size_bytes) == ("document", 7)
    store = Store(str(home / "store"))
    assert store.get_blob(part.blobs[0]) == b"<PMML/>"
    assert list(envelope.load().default.call(X)) == ["<PMML/>"] * len(X)
    (found,) = me.find("artifact.parts.0.codec = 'document'")
    assert found.id == envelope.id


@pytest.mark.parametrize("name", ["data.csv", "absent.pmml"])
def test_other_paths_stay_paths(memory_store: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "data.csv").write_text("1")
    artifact = artifacts.encode(tmp_path / name, memory_store)
    assert (artifact.parts, len(artifact.blobs)) == ((), 1)
    assert artifacts.decode(artifact, memory_store) == tmp_path / name


def test_weights_beside_an_onnx_file_travel_with_it(memory_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"graph")
    (tmp_path / "net.onnx.data").write_bytes(b"")  # an empty file cannot be mapped
    (tmp_path / "net.onnx_data").write_bytes(b"weights")
    found = artifacts.decode(artifacts.encode([path], memory_store), memory_store)[0]
    files = {file.name: file.read_bytes() for file in found.parent.iterdir()}
    assert files == {"net.onnx": b"graph", "net.onnx.data": b"", "net.onnx_data": b"weights"}


# The table


def test_no_library_is_imported_to_find_out() -> None:
    code = (
        "import sys; from envelope.artifacts import native; native.find_codec(dict);"
        "print({'torch', 'keras', 'onnx', 'onnxruntime', 'xgboost'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_subclass_has_its_base_class_codec() -> None:
    class Document(type(Path())):  # type: ignore[misc]  # the class of this platform's paths
        pass

    codec: Codec | None = find_codec(Document)
    assert codec is not None and codec.NAME == "document"
    assert find_codec(dict) is None


def test_an_unknown_codec_of_a_part_says_to_upgrade(memory_store: Store) -> None:
    class Newer:
        def __reduce__(self) -> object:
            return Builder("holographic"), (None,)

    artifact = artifacts.encode(Newer(), memory_store)
    with pytest.raises(IntegrityError, match=r"codec 'holographic'.*upgrade model-envelope"):
        artifacts.decode(artifact, memory_store)
