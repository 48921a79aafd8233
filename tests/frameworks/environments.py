"""The frameworks, what a model of each needs, and an environment for each.

Environments are kept in .venv-frameworks and made again when the list of packages changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
UV = Path(sys.executable).parent / "uv"
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


def environment(name: str, framework: Framework) -> Path:
    """Make the framework's environment, with this checkout in it, once; return its Python."""
    folder = ROOT / ".venv-frameworks" / name
    python, mark = python_of(folder), folder / "PACKAGES"
    wanted = "\n".join(framework.packages)
    if mark.exists() and mark.read_text() == wanted:
        return python
    make_environment(folder, framework.packages, framework)
    check([str(UV), "pip", "install", "--quiet", "--python", str(python), "-e", str(ROOT)])
    mark.write_text(wanted)
    return python


def make_environment(folder: Path, packages: Sequence[str], framework: Framework) -> Path:
    """Make an environment of these packages, as the framework needs it; return its Python."""
    python = python_of(folder)
    if framework.installer == "pip":
        check([sys.executable, "-m", "venv", "--clear", str(folder)])
        check([str(python), "-m", "pip", "install", "--quiet", *packages])
    else:
        check([str(UV), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        check([str(UV), "pip", "install", "--quiet", "--python", str(python), *packages])
    return python


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


@contextmanager
def moved_away(folder: Path) -> Iterator[None]:
    """Take a folder off its place, so that nothing can be read there."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


def run(python: Path, script: Path, folder: Path, *, cwd: Path) -> str:
    """Run a script of the cases; return what it printed."""
    return check([str(python), str(script), str(folder)], cwd=cwd, env=quiet())


def quiet() -> dict[str, str]:
    """Return the variables that let the frameworks say nothing of the processors they find."""
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def check(command: list[str], **options: Any) -> str:
    """Run a command; return what it printed. Raises AssertionError with all it said."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
