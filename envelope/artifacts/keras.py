"""Keras models as `.keras` files, with the classes and functions of its user that they name.

Keras's own pickle holds the same file, without those: a layer class of a script is then unknown
where the model is loaded, and nothing in the pickle says which modules the model needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from envelope.artifacts.parts import Parts

NAME = "keras"
TYPES = frozenset({"keras.src.models.model.Model"})


def take_apart(model: Any) -> Parts:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return Parts(state=dict(_custom_objects(model)), files=(path.read_bytes(),))


def build(custom_objects: Any, data: Any) -> Any:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(data)
        # Not safe_mode: a Lambda layer is code, and so is the pickle that this is called from.
        return keras.models.load_model(path, custom_objects=custom_objects, safe_mode=False)


def _custom_objects(model: Any) -> Iterator[tuple[str, Any]]:
    """Name every class and function of the model that is not Keras's own, as its file does."""
    import keras

    layers = list(model._flatten_layers(include_self=True, recursive=True))
    found: list[Any] = [type(layer) for layer in layers]
    for layer in layers:
        found += [value for value in vars(layer).values() if isinstance(value, FunctionType)]
    loss = getattr(model, "loss", None)
    found += [loss] if isinstance(loss, FunctionType) else []
    for obj in found:
        if obj.__module__.partition(".")[0] != "keras":
            yield keras.saving.get_registered_name(obj), obj
            yield obj.__name__, obj
