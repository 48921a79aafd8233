"""Each framework in an environment of its own: saved there, loaded by another process, then proved
in an environment that is rebuilt from the envelope alone. Each time the answers have equal bits.

`make test-frameworks`. Environments are kept in .venv-frameworks and made again when the list of
packages changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
BOOSTER = ["xgboost", "xgboost.core.Booster"]
SESSION = [
    "onnx",
    "onnxruntime.capi.onnxruntime_inference_collection.InferenceSession",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """packages: what its environment holds. parts: model -> what is kept in its native format.

    needs: one of these is in the lock of each model.
    """

    packages: tuple[str, ...]
    parts: dict[str, list[list[str]]]
    needs: frozenset[str]
    installer: str = "uv"


FRAMEWORKS = {
    "own_code": Framework(
        packages=("ipython==9.7.0", "scikit-learn==1.9.1"),
        parts={"package": [], "notebook": [], "closure": []},
        needs=frozenset({"pandas", "scikit-learn", "scipy"}),
    ),
    "sklearn": Framework(
        packages=("scikit-learn==1.9.1",),
        parts={"pipeline": [], "boosting": []},
        needs=frozenset({"scikit-learn"}),
    ),
    "scipy": Framework(
        packages=("scipy==1.17.1",), parts={"price": []}, needs=frozenset({"scipy"})
    ),
    "statsmodels": Framework(
        packages=("statsmodels==0.15.0",),
        parts={"formula": [], "glm": [], "series": []},
        needs=frozenset({"statsmodels"}),
    ),
    "lightgbm": Framework(
        packages=("lightgbm==4.7.0", "scikit-learn==1.9.1"),
        parts={"classifier": [], "pipeline": [], "booster": []},
        needs=frozenset({"lightgbm"}),
    ),
    "xgboost": Framework(
        packages=("xgboost==3.2.0", "scikit-learn==1.9.1"),
        parts={"classifier": [BOOSTER], "pipeline": [BOOSTER], "booster": [BOOSTER]},
        needs=frozenset({"xgboost"}),
    ),
    "catboost": Framework(
        packages=("catboost==1.2.10", "scikit-learn==1.9.1"),
        parts={"classifier": [], "pipeline": []},
        needs=frozenset({"catboost"}),
    ),
    "torch": Framework(
        packages=("torch==2.13.0",),
        parts={"module": []},
        needs=frozenset({"torch"}),
        installer="pip",  # the index of its builds without CUDA is known to pip alone
    ),
    "keras": Framework(
        packages=("tensorflow-cpu==2.21.0", "keras==3.15.1"),
        parts={"network": [["keras", "keras.src.models.sequential.Sequential"]]},
        needs=frozenset({"keras"}),
    ),
    "onnx": Framework(
        packages=("onnx==1.23.2", "onnxruntime==1.32.0"),
        parts={
            "session": [SESSION],
            "session_of_file": [SESSION],
            "path": [["document", "pathlib.PosixPath"]],
            "proto": [["onnx", "onnx.onnx_ml_pb2.ModelProto"]],
        },
        needs=frozenset({"onnx", "onnxruntime"}),
    ),
    "hamilton": Framework(
        packages=("sf-hamilton==1.90.0",),
        parts={"columns": [], "values": []},
        needs=frozenset({"apache-hamilton"}),
    ),
    "mlflow": Framework(
        packages=("mlflow==3.17.2", "scikit-learn==1.9.1"),
        parts={"example": [], "signature": [], "params": [], "texts": [], "registered": []},
        needs=frozenset({"mlflow"}),
    ),
    "spacy": Framework(
        packages=("spacy==3.8.18",), parts={"entities": []}, needs=frozenset({"spacy"})
    ),
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_model_answers_the_same_in_another_process_and_environment(
    name: str, tmp_path: Path, home: Path
) -> None:
    framework = FRAMEWORKS[name]
    python = environment(name, framework)
    saved, elsewhere = tmp_path / "saved", tmp_path / "elsewhere"
    saved.mkdir()
    elsewhere.mkdir()
    run(python, CASES / f"{name}_case.py", saved, cwd=saved)
    report = json.loads((saved / "report.json").read_text())
    said = run(python, CASES / "loading.py", saved, cwd=elsewhere)

    assert said.splitlines() == [f"{model} answers the same" for model in framework.parts]
    assert {model: found["parts"] for model, found in report["models"].items()} == framework.parts
    assert [claim for claim, holds in report["claims"].items() if not holds] == []
    for model in report["models"].values():
        assert framework.needs & set(model["packages"])

    with moved_away(python.parents[1]):
        for model in report["models"].values():
            envelope = str(Path(sys.executable).parent / "envelope")
            check([envelope, "verify", model["id"], "--tolerance", "0"], cwd=elsewhere)


@contextmanager
def moved_away(folder: Path) -> Iterator[None]:
    """Take a folder off its place, so that nothing can be read there."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


def environment(name: str, framework: Framework) -> Path:
    """Make the framework's environment, once; return its Python."""
    folder = ROOT / ".venv-frameworks" / name
    python, mark = folder / "bin" / "python", folder / "PACKAGES"
    wanted = "\n".join(framework.packages)
    if mark.exists() and mark.read_text() == wanted:
        return python
    uv = str(Path(sys.executable).parent / "uv")
    if framework.installer == "pip":
        check([sys.executable, "-m", "venv", "--clear", str(folder)])
        check([str(python), "-m", "pip", "install", "--quiet", *framework.packages])
    else:
        check([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        check([uv, "pip", "install", "--quiet", "--python", str(python), *framework.packages])
    check([uv, "pip", "install", "--quiet", "--python", str(python), "-e", str(ROOT)])
    mark.write_text(wanted)
    return python


def run(python: Path, script: Path, folder: Path, *, cwd: Path) -> str:
    quiet: dict[str, Any] = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    return check([str(python), str(script), str(folder)], cwd=cwd, env=os.environ | quiet)


def check(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
