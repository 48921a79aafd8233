"""Tensors of the Open Inference Protocol: JSON or little-endian bytes, to values and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from envelope.schema import types as t
from ray_runtime.protocols.problem import Malformed, NotAcceptable

BYTES = "BYTES"
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_NAMES = {dtype.newbyteorder("="): name for name, dtype in DTYPES.items()}


class InputTensor(msgspec.Struct):
    """One input as it stands in the JSON. data: flat or nested; not there when it is binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor's values, row-major and flat: a list, or a numpy array where they came as bytes."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    values: Any

    @property
    def is_binary(self) -> bool:
        return isinstance(self.values, np.ndarray)

    def items(self) -> list[Any]:
        """Return the values as Python ones."""
        return self.values.tolist() if self.is_binary else list(self.values)

    def nested(self) -> Any:
        """Return the values as lists nested to the shape; a bare value for the shape []."""
        return nest(self.items(), self.shape)


def read_tensor(given: InputTensor, raw: memoryview | None) -> Tensor:
    """Return the tensor of an input. raw: its bytes, None when the values stand in the JSON.

    Raises Malformed when values, shape and datatype do not go together.
    """
    if given.datatype != BYTES and given.datatype not in DTYPES:
        raise Malformed(f"input {given.name}: there is no datatype {given.datatype!r}")
    if any(length < 0 for length in given.shape):
        raise Malformed(f"input {given.name}: a shape has no negative lengths")
    count = math.prod(given.shape)
    if raw is not None:
        values: Any = _from_bytes(given, raw, count)
    elif isinstance(given.data, list):
        values = flatten(given.data, len(given.shape))
    else:
        raise Malformed(f"input {given.name} has neither data nor binary_data_size")
    if len(values) != count:
        raise Malformed(
            f"input {given.name}: {len(values)} values do not fill the shape {given.shape}"
        )
    return Tensor(name=given.name, shape=tuple(given.shape), datatype=given.datatype, values=values)


def _from_bytes(given: InputTensor, raw: memoryview, count: int) -> Any:
    if given.datatype == BYTES:
        return read_texts(given.name, raw)
    dtype = DTYPES[given.datatype]
    if len(raw) != count * dtype.itemsize:
        raise Malformed(
            f"input {given.name}: {len(raw)} bytes are not {count} values of {given.datatype}"
        )
    return np.frombuffer(raw, dtype)


def read_texts(name: str, raw: memoryview) -> list[str]:
    """Return texts, each after its length in four bytes. Raises Malformed."""
    texts, at = [], 0
    try:
        while at < len(raw):
            (length,) = struct.unpack_from("<I", raw, at)
            part = bytes(raw[at + 4 : at + 4 + length])
            if len(part) != length:
                raise Malformed(f"input {name}: a text is longer than the tensor's bytes")
            texts.append(part.decode("utf-8"))
            at += 4 + length
    except (struct.error, UnicodeDecodeError):
        raise Malformed(f"input {name}: its bytes are not texts, each after its length") from None
    return texts


def flatten(data: Sequence[Any], rank: int) -> list[Any]:
    """Return values row-major. data: flat already, or nested as deeply as the rank says.

    What is nested deeper is a value itself: a list in a BYTES tensor is left for the checks.
    """
    flat = list(data)
    for _ in range(rank - 1):
        if not flat or not all(isinstance(item, list) for item in flat):
            break
        flat = [inner for item in flat for inner in item]
    return flat


def nest(flat: list[Any], shape: Sequence[int]) -> Any:
    """Return flat values as lists nested to a shape."""
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return flat
    size = math.prod(shape[1:])
    return [nest(flat[row * size : (row + 1) * size], shape[1:]) for row in range(shape[0])]


# --- out


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    """values: as in `Tensor`, of JSON's own types where they are a list."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    values: Any

    def as_json(self) -> dict[str, Any]:
        """Return it with its values in the JSON."""
        values = (
            self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else self.values
        )
        return {**self._head(), "data": values}

    def as_binary(self) -> tuple[dict[str, Any], bytes]:
        """Return it without its values, and those as bytes. Raises NotAcceptable for null."""
        raw = self._bytes()
        return {**self._head(), "parameters": {"binary_data_size": len(raw)}}, raw

    def _head(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def _bytes(self) -> bytes:
        if self.datatype == BYTES:
            texts = [text.encode() for text in self.values]
            return b"".join(struct.pack("<I", len(text)) + text for text in texts)
        dtype = DTYPES[self.datatype]
        try:
            return np.asarray(self.values, dtype).tobytes()
        except (TypeError, ValueError):
            raise NotAcceptable(
                f"output {self.name} has null, which no binary {self.datatype} holds; ask for it "
                "in JSON"
            ) from None


def tensor_of_array(name: str, array: Any) -> OutputTensor | None:
    """Return a numpy array as a tensor; None when its dtype is none of the protocol's."""
    datatype = _NAMES.get(array.dtype.newbyteorder("=")) if array.dtype.kind in "?biuf" else None
    if datatype is None:
        return None
    shape = array.shape or (1,)
    return OutputTensor(name=name, shape=shape, datatype=datatype, values=array)


def tensor_of_cells(name: str, kind: t.Type | None, cells: list[Any]) -> OutputTensor:
    """Return JSON values as a tensor of one axis: texts as they are, anything else that has no
    datatype as JSON text.
    """
    datatype = datatype_of(kind)
    if datatype == BYTES:
        cells = [
            one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in cells
        ]
    return OutputTensor(name=name, shape=(len(cells),), datatype=datatype, values=cells)


def datatype_of(kind: t.Type | None) -> str:
    """Return the datatype of an element; BYTES for what has none of its own."""
    match kind:
        case t.Boolean():
            return "BOOL"
        case t.Integer(bits=bits, signed=signed) if bits is not None:
            return f"{'' if signed else 'U'}INT{bits}"
        case t.Integer():
            return "INT64"
        case t.Float(bits=bits):
            return f"FP{bits}"
        case t.Maybe(of=t.Float() as of) | t.Constrained(of=of) | t.NumpyScalar(of=of):
            return datatype_of(of)
        case t.Maybe(of=(t.Integer() | t.Boolean()) as of):
            return datatype_of(of)
    return BYTES
