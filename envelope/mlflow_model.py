"""An MLflow model as an envelope: its folder, its signature, its requirements, what is told of it.

The folder travels as it is and is loaded by MLflow, whatever flavour it has. Only here is MLflow
imported, and only when such a model is made or loaded.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import pickle
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envelope.artifacts.parts import map_file
from envelope.capture.installed import installed
from envelope.errors import DependencyError, EnvelopeError, SchemaError

if TYPE_CHECKING:
    from envelope.handle import Envelope

FUNCTION = "predict"
INPUT = "inputs"
_KEPT_OF_RUN = re.compile(r"runs:/([^/]+)/")
_VERSION = re.compile(r"models:/([^/@]+)/(\d+)$")


class MlflowModel:
    """An MLflow model that is called by name: its input, and the parameters of its signature."""

    def __init__(self, folder: Path) -> None:
        import mlflow.pyfunc

        self.folder = folder
        self.__name__ = FUNCTION
        self.__doc__ = ""
        self._model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
        self.params = list(_params(self._model.metadata.signature))
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(INPUT, inspect.Parameter.POSITIONAL_OR_KEYWORD), *self.params]
        )

    def __call__(self, inputs: Any, **params: Any) -> Any:
        return self._model.predict(inputs, params=params or None)

    def __reduce__(self) -> Any:
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(self.folder).as_posix() for path in files]
        return _build, (names, *(pickle.PickleBuffer(map_file(path)) for path in files))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the folder and, where the address is of one, the tracking server tell of a model."""

    name: str
    description: str
    tags: dict[str, str]
    hyperparameters: dict[str, str]
    metrics: dict[str, float]


def import_mlflow(model_uri: str, *, name: str | None = None) -> Envelope:
    """Save an MLflow model as an envelope; its metrics are logged to it.

    model_uri: a folder with an MLmodel file, or what MLflow downloads (runs:/, models:/, s3://).
    name: default the registered model's, else the folder's.
    To be called where the model's requirements are installed: their versions become the lock.
    Raises DependencyError (no MLflow, other versions than required), SchemaError (neither input
    example nor signature), EnvelopeError (no such model); nothing is saved then.
    """
    from envelope.save import save_target
    from envelope.trial import Example, Target

    folder = _fetch(model_uri)
    modules = required_modules(folder)
    try:
        model = MlflowModel(folder)
    except Exception as exc:  # whatever the flavour's loader raises
        raise EnvelopeError(
            f"MLflow cannot load {model_uri}: {type(exc).__name__}: {exc}; make "
            "mlflow.pyfunc.load_model work here first"
        ) from exc
    metadata = model._model.metadata
    api_input, is_made_up = example_of(metadata, folder)
    told = _told(model_uri, metadata, name or _name_of(model_uri))
    envelope = save_target(
        Target(name=FUNCTION, call=model, obj=model, attribute=None),
        Example(api_input=api_input, is_made_up=is_made_up),
        name=told.name,
        description=told.description,
        tags=told.tags,
        hyperparameters=told.hyperparameters,
        extra_modules=modules,
    )
    if told.metrics:
        envelope.log_metrics(told.metrics)
    return envelope


def required_modules(folder: Path) -> list[str]:
    """Return the modules of what a model's requirements.txt names, all of it installed here.

    Raises DependencyError listing what is not installed, or in another version.
    """
    here = installed()
    modules, faults = [], []
    for requirement in _requirements(folder):
        found = here.distributions.get(canonicalize_name(requirement.name))
        if found is None:
            faults.append(f"{requirement}: not installed")
        elif not requirement.specifier.contains(found.version, prereleases=True):
            faults.append(f"{requirement}: installed is {found.version}")
        else:
            modules += sorted(found.top_levels)[:1]
    if faults:
        raise DependencyError(
            "the MLflow model needs other packages than are installed here:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + f"\nimport it where they are: pip install -r {folder / 'requirements.txt'}"
        )
    return modules


def _requirements(folder: Path) -> Iterator[Requirement]:
    path = folder / "requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):  # an option of pip
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as exc:
            raise DependencyError(
                f"{path}: {text!r} is no requirement ({exc}); correct it in a copy of the folder"
            ) from exc
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def example_of(metadata: Any, folder: Path) -> tuple[Any, bool]:
    """Return an input for a model, and whether it was made up from the signature's types.

    metadata: mlflow.models.Model. Raises SchemaError when there is neither example nor signature.
    """
    inputs = metadata.signature.inputs if metadata.signature is not None else None
    example = (
        metadata.load_input_example(str(folder)) if metadata.saved_input_example_info else None
    )
    if example is None and inputs is None:
        raise SchemaError(
            f"the MLflow model in {folder} has neither an input example nor a signature, so "
            "nothing says what it takes; log it again with input_example=, or signature="
        )
    if example is None:
        return _made_up(inputs), True
    if inputs is not None and hasattr(example, "astype") and hasattr(example, "columns"):
        kinds = dict(zip(inputs.input_names(), _dtypes(inputs), strict=False))
        example = example.astype({k: v for k, v in kinds.items() if k in example.columns})
    return example, False


def _dtypes(inputs: Any) -> list[Any]:
    return [] if inputs.is_tensor_spec() else list(inputs.pandas_types())


def _made_up(inputs: Any) -> Any:
    import numpy as np
    import pandas as pd

    if inputs.is_tensor_spec():
        arrays = {
            spec.name: np.zeros([1 if n < 0 else n for n in spec.shape], spec.type)
            for spec in inputs.inputs
        }
        return arrays if inputs.has_input_names() else next(iter(arrays.values()))
    if not inputs.has_input_names():
        return [_one(spec) for spec in inputs.inputs]
    frame = pd.DataFrame({spec.name: [_one(spec)] for spec in inputs.inputs})
    return frame.astype(dict(zip(inputs.input_names(), _dtypes(inputs), strict=True)))


def _one(spec: Any) -> Any:
    """Return a value of a column's type."""
    import numpy as np

    kind = getattr(spec.type, "name", "")
    if kind == "datetime":
        return np.datetime64("2000-01-01T00:00:00", "ns")
    plain = {"boolean": False, "string": "", "binary": b"", "float": 0.0, "double": 0.0}
    if kind in plain or kind in ("integer", "long"):
        return plain.get(kind, 0)
    raise SchemaError(
        f"the MLflow model's input {spec.name or ''!r} is {spec.type}, which its signature alone "
        "does not show by example; log it again with input_example="
    )


def _params(signature: Any) -> Iterator[inspect.Parameter]:
    for spec in signature.params.params if signature is not None and signature.params else ():
        kind = spec.dtype.to_python() if hasattr(spec.dtype, "to_python") else Any
        yield inspect.Parameter(
            spec.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=list[kind] if spec.shape else kind,  # type: ignore[valid-type]  # made at run time
            default=spec.default,
        )


def _fetch(model_uri: str) -> Path:
    try:
        import mlflow.artifacts
    except ImportError as exc:
        raise DependencyError(
            "importing an MLflow model needs MLflow, which is not installed here; pip install "
            "mlflow, beside the model's own requirements"
        ) from exc
    folder = Path(model_uri)
    if not folder.is_dir():
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri))
        except Exception as exc:  # of any of MLflow's stores
            raise EnvelopeError(
                f"there is no MLflow model {model_uri}: {exc}; name a folder with an MLmodel file, "
                "or an address that MLflow knows, as in models:/NAME/1"
            ) from exc
    if not (folder / "MLmodel").is_file():
        raise EnvelopeError(
            f"{model_uri} has no file MLmodel; name the folder that MLflow's save_model wrote"
        )
    return folder.absolute()


def _name_of(model_uri: str) -> str:
    """Return the registered model's name, else the last part of the address."""
    registered = re.match(r"models:/([^/@]+)", model_uri)
    return registered[1] if registered else Path(model_uri).absolute().name


def _told(model_uri: str, metadata: Any, name: str) -> Told:
    flavors = ", ".join(key for key in metadata.flavors if key != "python_function")
    tags = {key: _text(value) for key, value in (metadata.metadata or {}).items()}
    tags |= {"mlflow.model_uri": model_uri, "mlflow.model_uuid": str(metadata.model_uuid)}
    description = f"MLflow model ({flavors or 'python_function'})"
    run_id = metadata.run_id or next(iter(_KEPT_OF_RUN.findall(model_uri)), None)
    if run_id:
        tags["mlflow.run_id"] = run_id
    params: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    if model_uri.startswith(("runs:/", "models:/")):
        import mlflow

        client = mlflow.MlflowClient()
        if version := _VERSION.match(model_uri):
            registered = client.get_model_version(version[1], version[2])
            description = registered.description or description
            tags |= registered.tags
        if run_id:
            data = client.get_run(run_id).data
            params, metrics = data.params, data.metrics
    return Told(
        name=name,
        description=description,
        tags=tags,
        hyperparameters=dict(params),
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _build(names: list[str], *contents: Any) -> MlflowModel:
    """Write the folder for as long as this process lasts, and let MLflow load it."""
    folder = Path(tempfile.mkdtemp(dir=_folder().name))
    for name, content in zip(names, contents, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return MlflowModel(folder)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="envelope-mlflow-")
