"""The default codec: cloudpickle, protocol 5, one blob, streamed into the store."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

from envelope.artifacts.unpicklable import find_culprit
from envelope.errors import DependencyError, EnvelopeError, SerializationError
from envelope.manifest import Artifact
from envelope.store import Store

NAME = "cloudpickle"
PROTOCOL = 5  # fixed: every Python we support reads it, and equal models get equal bytes


class _WatchedPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Shows each object to `see` before it is written."""

    def __init__(self, file: Any, see: Callable[[object], object]) -> None:
        super().__init__(file, protocol=PROTOCOL)
        self._see = see

    def reducer_override(self, obj: Any) -> Any:
        self._see(obj)
        return super().reducer_override(obj)


def encode(
    obj: Any, store: Store, *, what: str, see: Callable[[object], object] | None = None
) -> Artifact:
    """Pickle an object into one blob. Raises SerializationError, StorageError."""
    try:
        with store.write_blob() as file:
            if see is None:
                cloudpickle.Pickler(file, protocol=PROTOCOL).dump(obj)
            else:
                _WatchedPickler(file, see).dump(obj)
    except EnvelopeError:
        raise
    except Exception as exc:  # whatever the object's own __reduce__ and __getstate__ raise
        raise _explain(obj, what, exc) from exc
    kind = type(obj)
    return Artifact(codec=NAME, blobs=(file.blob,), type=f"{kind.__module__}.{kind.__qualname__}")


def decode(artifact: Artifact, store: Store) -> Any:
    """Unpickle the blob, after its hash was checked. Raises DependencyError, IntegrityError."""
    (blob,) = artifact.blobs
    with store.open_blob(blob) as file:
        try:
            return pickle.load(file)
        except Exception as exc:  # whatever the code that the bytes name raises
            raise DependencyError(
                f"the {artifact.type} cannot be constructed here: {type(exc).__name__}: {exc}; "
                "its bytes are as saved, so code differs from where it was saved: install the "
                "envelope's packages, and pass local modules to save_model as modules=[...]"
            ) from exc


def _explain(obj: Any, what: str, error: Exception) -> SerializationError:
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return SerializationError(
            f"{what} is nested too deeply to be pickled; flatten it, or raise Python's limit with "
            "sys.setrecursionlimit before saving"
        )
    culprit = find_culprit(obj, what)
    return SerializationError(
        f"{culprit.path} cannot be pickled: it is a {culprit.type} ({culprit.reason or error}); "
        "take it out before saving and make it when it is first used, or leave it out in the "
        "__getstate__ of the class that holds it"
    )
