"""Python objects as bytes and back: one module per codec, and this table of them.

A codec is a module with two functions (see `Codec`). To add one: write the module, add it to
CODECS, and let `choose_codec` know which objects it is for. A codec's name is written in every
manifest that uses it: names are never reused, and old ones stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from envelope.artifacts import pickled
from envelope.errors import IntegrityError
from envelope.manifest import Artifact
from envelope.store import Store


class Codec(Protocol):
    """What a codec's module holds."""

    NAME: str

    def encode(
        self, obj: Any, store: Store, *, what: str, see: Callable[[object], object] | None
    ) -> Artifact:
        """Write the object's bytes. See `envelope.artifacts.encode`."""

    def decode(self, artifact: Artifact, store: Store) -> Any:
        """Construct the object again. See `envelope.artifacts.decode`."""


CODECS: Mapping[str, Codec] = MappingProxyType(
    {pickled.NAME: pickled, pickled.WITH_BUFFERS: pickled}
)


def choose_codec(obj: object) -> Codec:
    """Return the codec that writes this object."""
    return pickled


def encode(
    obj: Any, store: Store, *, what: str = "model", see: Callable[[object], object] | None = None
) -> Artifact:
    """Write an object's bytes to the store.

    what: how messages call the object, "model" or the function's name.
    see: is called with every object on the way whose code or class is only named in the bytes.
    Raises SerializationError naming the attribute that cannot be written; StorageError.
    """
    return choose_codec(obj).encode(obj, store, what=what, see=see)


def decode(artifact: Artifact, store: Store) -> Any:
    """Construct an object from bytes whose hashes are right. This runs what the bytes say.

    Raises IntegrityError (bytes changed, unknown codec), DependencyError (code that is not here),
    StorageError.
    """
    codec = CODECS.get(artifact.codec)
    if codec is None:
        raise IntegrityError(
            f"the artifact is written with the codec {artifact.codec!r}, this installation knows "
            f"{', '.join(sorted(CODECS))}; upgrade model-envelope"
        )
    return codec.decode(artifact, store)
