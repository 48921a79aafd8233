"""Objects that their library writes better than a pickle does, wherever they sit in a model.

The pickler asks `find_codec` about every object. A codec takes an object apart into state, which is
pickled, and the library's own files, which become blobs beside the pickle; the pickle calls `build`
to put the object together again. So a Pipeline that holds an XGBClassifier is pickled as ever, with
the Booster inside it in XGBoost's own format.
See docs/decisions/0003-native-formats-inside-the-pickle.md.

To add a codec: write a module with what `Codec` lists, and add it to CODECS. It imports its library
inside its functions: while saving, the library is there (the object is), while loading, it has to
be. NAMEs are written in pickles: they are never reused, and what was written stays readable.

Not here, because a pickle of them is their native format with the Python attributes that predicting
needs, which the format alone loses (`tests/frameworks` holds each to that):
- lightgbm: `Booster.__getstate__` holds `model_to_string()`; the text alone loses best_iteration,
  best_score and the params as they were given.
- catboost: `__getstate__` holds the bytes of `save_model(format="cbm")`; a cbm file loses the
  constructor's parameters.
- spaCy: `to_disk` loses components that are not registered where the model is loaded.
- statsmodels: `Results.save` is a pickle itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from envelope.artifacts import documents, keras, onnx, torch, xgboost
from envelope.artifacts.parts import Parts
from envelope.errors import IntegrityError


class Codec(Protocol):
    """What a codec's module holds. TYPES: full names of classes, subclasses included."""

    NAME: str
    TYPES: frozenset[str]

    def take_apart(self, obj: Any) -> Parts | None:
        """Return what the object is made of; None leaves it to the pickle."""

    def build(self, state: Any, *files: Any) -> Any:
        """Make the object again. files: as buffers that it may keep."""


CODECS: Mapping[str, Codec] = MappingProxyType(
    {codec.NAME: codec for codec in (documents, keras, onnx, torch, xgboost)}
)
_BY_TYPE = {name: codec for codec in CODECS.values() for name in codec.TYPES}


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds an object of one codec; what pickles refer to, so its name may never change."""

    codec: str

    def __call__(self, state: Any, *files: Any) -> Any:
        if self.codec not in CODECS:
            raise IntegrityError(
                f"part of the model is written with the codec {self.codec!r}, this installation "
                f"knows {', '.join(sorted(CODECS))}; upgrade model-envelope"
            )
        return CODECS[self.codec].build(state, *files)


def find_codec(kind: type) -> Codec | None:
    """Return the codec for objects of a class, None for all that are pickled."""
    for base in kind.__mro__:
        codec = _BY_TYPE.get(name_of(base))
        if codec is not None:
            return codec
    return None


def name_of(kind: type) -> str:
    """Return the full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"
