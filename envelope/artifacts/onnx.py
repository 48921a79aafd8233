"""ONNX models as `.onnx` bytes: a ModelProto, and the model of an onnxruntime InferenceSession.

A session cannot be pickled. Session options that ONNX Runtime does not let one read (config
entries, custom operators' libraries) are lost: make such a session when it is first used, and keep
the path of its file in the model instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envelope.artifacts.documents import files_of, write_files
from envelope.artifacts.parts import Parts, map_file

NAME = "onnx"
_SESSION = "onnxruntime.capi.onnxruntime_inference_collection.InferenceSession"
TYPES = frozenset({"onnx.onnx_ml_pb2.ModelProto", _SESSION})
OPTIONS = (
    "enable_cpu_mem_arena",
    "enable_mem_pattern",
    "enable_mem_reuse",
    "execution_mode",
    "execution_order",
    "graph_optimization_level",
    "inter_op_num_threads",
    "intra_op_num_threads",
    "log_severity_level",
    "use_deterministic_compute",
    "use_per_session_threads",
)


def take_apart(model: Any) -> Parts:
    if type(model).__module__.partition(".")[0] == "onnx":
        return Parts(state=None, files=(model.SerializeToString(deterministic=True),))
    files = {"model.onnx": model._model_bytes}
    if model._model_bytes is None:
        files = {name: map_file(path) for name, path in files_of(Path(model._model_path)).items()}
    options = model.get_session_options()
    state = {
        "names": tuple(files),
        "providers": model.get_providers(),
        "provider_options": list(model.get_provider_options().values()),
        "options": {name: getattr(options, name) for name in OPTIONS if hasattr(options, name)},
    }
    return Parts(state=state, files=tuple(files.values()))


def build(state: Any, *contents: Any) -> Any:
    if state is None:
        import onnx

        return onnx.ModelProto.FromString(bytes(contents[0]))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    for name, value in state["options"].items():
        setattr(options, name, value)
    path = write_files(dict(zip(state["names"], contents, strict=True)))
    return onnxruntime.InferenceSession(
        str(path),
        options,
        providers=state["providers"],
        provider_options=state["provider_options"],
    )
