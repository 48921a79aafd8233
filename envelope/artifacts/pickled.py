"""The default codec: cloudpickle, protocol 5, streamed into the store.

Arrays of BIG_BYTES and more are blobs of their own beside the pickle: written straight from the
model's memory, and read into the memory that the loaded model keeps.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import cloudpickle

from envelope.artifacts.native import Builder, Codec, find_codec, name_of
from envelope.artifacts.unpicklable import find_culprit
from envelope.errors import DependencyError, EnvelopeError, SerializationError
from envelope.manifest import Artifact, Blob, Part
from envelope.store import Store

# Written in manifests: never reused. The second is another because readers of the first fail on it.
NAMES = ALONE, WITH_BUFFERS = "cloudpickle", "cloudpickle-buffers"
PROTOCOL = 5  # fixed: every Python we support reads it, and equal models get equal bytes
# What is smaller stays in the pickle, where it is copied once on its way: under 1 % of a 2 GB
# model. At most 64 blobs a gigabyte, each a request to an object store.
BIG_BYTES = 16 << 20


# How torch, CuPy and NVIDIA's runtime say that there is no device.
_NO_GPU = re.compile(
    r"torch\.cuda\.is_available\(\) is False|no CUDA-capable device|Found no NVIDIA driver"
    r"|cudaErrorNoDevice|cudaErrorInsufficientDriver"
)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Shows each object to `see` before it is written, and puts big buffers beside the pickle."""

    def __init__(self, file: Any, store: Store, see: Callable[[object], object]) -> None:
        super().__init__(file, protocol=PROTOCOL, buffer_callback=self._write_buffer)
        self._store = store
        self._see = see
        self._codecs: dict[type, Codec | None] = {}
        self._parts: list[tuple[str, str, list[Blob]]] = []
        self._part_of: dict[int, list[Blob]] = {}  # by the identity of a file's buffer
        self.buffers: list[Blob] = []

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(
            Part(codec=codec, type=kind, blobs=tuple(blobs))
            for codec, kind, blobs in self._parts
            if blobs
        )

    def reducer_override(self, obj: Any) -> Any:
        self._see(obj)
        kind = type(obj)
        if kind not in self._codecs:
            self._codecs[kind] = find_codec(kind)
        codec = self._codecs[kind]
        parts = codec.take_apart(obj) if codec else None
        if codec is None or parts is None:
            return super().reducer_override(obj)
        files = [pickle.PickleBuffer(file) for file in parts.files]
        blobs: list[Blob] = []
        self._part_of.update((id(file), blobs) for file in files)
        self._parts.append((codec.NAME, name_of(kind), blobs))
        return Builder(codec.NAME), (parts.state, *files)

    def _write_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Write a big buffer at once, so that none waits in memory. True: it stays in the pickle.

        Should the pickling fail later, the blob stays in the store, where nothing refers to it.
        """
        data = buffer.raw()
        part = self._part_of.get(id(buffer))
        if part is None and data.nbytes < BIG_BYTES:
            return True
        blob = self._store.put_blob(data)
        self.buffers.append(blob)
        if part is not None:
            part.append(blob)
        return False


def encode(
    obj: Any, store: Store, *, what: str, see: Callable[[object], object] | None = None
) -> Artifact:
    """Pickle an object. Raises SerializationError, StorageError."""
    try:
        with store.write_blob() as file:
            pickler = _Pickler(file, store, see or _overlook)
            pickler.dump(obj)
    except EnvelopeError:
        raise
    except Exception as exc:  # whatever the object's own __reduce__ and __getstate__ raise
        raise _explain(obj, what, exc) from exc
    return Artifact(
        codec=WITH_BUFFERS if pickler.buffers else ALONE,
        blobs=(file.blob, *pickler.buffers),
        type=name_of(type(obj)),
        parts=pickler.parts,
    )


def _overlook(obj: object) -> None:
    pass


def decode(artifact: Artifact, store: Store) -> Any:
    """Unpickle the first blob with the others as its buffers, after all hashes were checked.

    Raises DependencyError, IntegrityError, StorageError.
    """
    stream, *beside = artifact.blobs
    buffers = [store.get_buffer(blob) for blob in beside]
    with store.open_blob(stream) as file:
        try:
            return pickle.load(file, buffers=buffers)
        except EnvelopeError:
            raise
        except Exception as exc:  # whatever the code that the bytes name raises
            if _NO_GPU.search(str(exc)):
                raise DependencyError(
                    f"the {artifact.type} needs a GPU, and there is none here: "
                    f"{str(exc).splitlines()[0]}; give the deployment one with resources: "
                    "{num_gpus: 1}, or move the model to the CPU before saving it"
                ) from exc
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
