"""Python objects as bytes and back.

`pickled` writes everything; `native` is the table of objects inside that have a better format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envelope.artifacts import pickled
from envelope.errors import IntegrityError
from envelope.manifest import Artifact
from envelope.store import Store


def encode(
    obj: Any, store: Store, *, what: str = "model", see: Callable[[object], object] | None = None
) -> Artifact:
    """Write an object's bytes to the store.

    what: how messages call the object, "model" or the function's name.
    see: is called with every object on the way whose code or class is only named in the bytes.
    Raises SerializationError naming the attribute that cannot be written; StorageError.
    """
    return pickled.encode(obj, store, what=what, see=see)


def decode(artifact: Artifact, store: Store) -> Any:
    """Construct an object from bytes whose hashes are right. This runs what the bytes say.

    Raises IntegrityError (bytes changed, unknown codec), DependencyError (code that is not here),
    StorageError.
    """
    if artifact.codec not in pickled.NAMES:
        raise IntegrityError(
            f"the artifact is written with the codec {artifact.codec!r}, this installation knows "
            f"{', '.join(pickled.NAMES)}; upgrade model-envelope"
        )
    return pickled.decode(artifact, store)
