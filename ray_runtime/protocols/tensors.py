"""Tensors of the Open Inference Protocol: JSON or little-endian bytes, to values and back."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


ALL = frozenset(DTYPES) | {BYTES}
NUMBERS = frozenset(DTYPES) - {"BOOL"}


class InputTensor(msgspec.Struct, omit_defaults=True):
    """One input as it stands in the JSON. data: flat or nested; not there when it is binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one column or parameter takes. expected: for people.

    holds_json: its value is a list or an object, which a text may hold as JSON. is_bytes: its JSON
    is base64. has_many, is_array: of parameters: it takes more than one element, as numpy.
    """

    name: str
    datatypes: frozenset[str]
    expected: str
    holds_json: bool
    is_bytes: bool
    has_many: bool = False
    is_array: bool = False

    @classmethod
    def of_column(cls, name: str, kind: t.Type) -> Place:
        """Return the place of a frame's column."""
        listed = t.ListOf | t.TupleOf | t.SetOf | t.MapOf | t.Record
        return cls(
            name=name,
            datatypes=_datatypes_for(kind),
            expected=f"datatype {datatype_of(kind)}",
            holds_json=isinstance(_bare(kind), listed),
            is_bytes=isinstance(_bare(kind), t.Bytes),
        )

    @classmethod
    def of_parameter(cls, name: str, kind: t.Type) -> Place:
        """Return the place of a parameter."""
        bare = _bare(kind)
        element = element_of(bare)
        return cls(
            name=name,
            datatypes=_datatypes_for(element),
            expected=f"datatype {datatype_of(element)}",
            holds_json=isinstance(bare, t.MapOf | t.Record),
            is_bytes=isinstance(_bare(element), t.Bytes),
            has_many=isinstance(bare, t.Array | t.ListOf | t.TupleOf | t.SetOf | t.SeriesOf),
            is_array=isinstance(bare, t.Array) and datatype_of(bare.of) in DTYPES,
        )


def _bare(kind: t.Type) -> t.Type:
    while isinstance(kind, t.Maybe | t.Constrained):
        kind = kind.of
    return kind


def element_of(kind: t.Type) -> t.Type:
    """Return the type of a tensor's elements where the type has many, else the type itself."""
    match kind:
        case t.Array(of=of):
            return of
        case t.SeriesOf(column=column):
            return column.type
        case t.ListOf(item=item) | t.SetOf(item=item):
            return item
    return kind


def _datatypes_for(kind: t.Type) -> frozenset[str]:
    """Return what may be sent for a type; what has no datatype of its own the checks judge."""
    datatype = datatype_of(kind)
    if datatype == BYTES:
        return ALL
    return frozenset({datatype}) if datatype == "BOOL" else NUMBERS


def count_of(given: InputTensor) -> int:
    """Return how many values a tensor says that it has. Raises Malformed."""
    if given.datatype not in ALL:
        raise Malformed(f"input {given.name}: there is no such datatype; there is {_ALL_NAMES}")
    if any(length < 0 for length in given.shape):
        raise Malformed(f"input {given.name}: a shape has no negative lengths")
    return math.prod(given.shape)


_ALL_NAMES = ", ".join([*DTYPES, BYTES])


def read_array(given: InputTensor, raw: memoryview) -> np.ndarray[Any, Any]:
    """Return the flat numbers of a binary tensor. They cannot be written to. Raises Malformed."""
    count = count_of(given)
    dtype = DTYPES[given.datatype]
    if len(raw) != count * dtype.itemsize:
        raise Malformed(
            f"input {given.name}: {len(raw)} bytes are not {count} values of {given.datatype}"
        )
    return np.frombuffer(raw, dtype)


def read_texts(given: InputTensor, raw: memoryview, *, as_base64: bool) -> list[str]:
    """Return texts, each after its length in four bytes. Raises Malformed.

    as_base64: the bytes are no text, but what base64 stands for in JSON.
    """
    texts, at, name = [], 0, given.name
    try:
        while at < len(raw):
            (length,) = struct.unpack_from("<I", raw, at)
            part = bytes(raw[at + 4 : at + 4 + length])
            if len(part) != length:
                raise Malformed(f"input {name}: a text is longer than the tensor's bytes")
            texts.append(base64.b64encode(part).decode() if as_base64 else part.decode("utf-8"))
            at += 4 + length
    except (struct.error, UnicodeDecodeError):
        raise Malformed(f"input {name}: its bytes are not texts, each after its length") from None
    if len(texts) != count_of(given):
        raise Malformed(f"input {name}: {len(texts)} texts do not fill the shape {given.shape}")
    return texts


def numbers_of(values: list[Any]) -> np.ndarray[Any, Any] | None:
    """Return numbers of JSON as an array; None where that could change one of them."""
    if not set(map(type, values)) <= {int, float}:
        return None
    if max(map(abs, values), default=0) >= 2**53:
        return None
    return np.array(values)


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
    """values: a numpy array, or a flat list of JSON's own types. is_base64: of bytes."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    values: Any
    is_base64: bool = False

    def rows(self, start: int, stop: int) -> OutputTensor:
        """Return some rows of it: places of its first axis."""
        each = 1 if isinstance(self.values, np.ndarray) else math.prod(self.shape[1:])
        return replace(
            self,
            shape=(stop - start, *self.shape[1:]),
            values=self.values[start * each : stop * each],
        )

    def as_json(self) -> dict[str, Any]:
        """Return it with its values in the JSON."""
        values = (
            self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else self.values
        )
        return {**self._head(), "data": values}

    def as_binary(self) -> tuple[dict[str, Any], bytes]:
        """Return it without its values, and those as bytes. Raises NotAcceptable for null."""
        try:
            raw = self._bytes()
        except (TypeError, ValueError, AttributeError):
            raise NotAcceptable(
                f"output {self.name} has null, which no binary {self.datatype} holds; ask for it "
                "in JSON"
            ) from None
        return {**self._head(), "parameters": {"binary_data_size": len(raw)}}, raw

    def _head(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def _bytes(self) -> bytes:
        if self.datatype != BYTES:
            return np.asarray(self.values, DTYPES[self.datatype]).tobytes()
        texts = [
            base64.b64decode(text) if self.is_base64 else text.encode() for text in self.values
        ]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def tensor_of_array(name: str, array: Any) -> OutputTensor | None:
    """Return a numpy array as a tensor; None when its dtype is none of the protocol's."""
    datatype = _NAMES.get(array.dtype.newbyteorder("=")) if array.dtype.kind in "?biuf" else None
    if datatype is None:
        return None
    return OutputTensor(name=name, shape=array.shape or (1,), datatype=datatype, values=array)


def tensor_of_cells(
    name: str, kind: t.Type | None, cells: list[Any], shape: tuple[int, ...] | None = None
) -> OutputTensor:
    """Return JSON values as a tensor: null and texts as they are, anything else that has no
    datatype as JSON text. shape: of one axis where it is not given.
    """
    datatype = datatype_of(kind)
    if datatype == BYTES:
        cells = [
            one if one is None or isinstance(one, str) else msgspec.json.encode(one).decode()
            for one in msgspec.to_builtins(cells)  # bytes, dates: their JSON is a text
        ]
    return OutputTensor(
        name=name,
        shape=(len(cells),) if shape is None else shape,
        datatype=datatype,
        values=cells,
        is_base64=kind is not None and isinstance(_bare(kind), t.Bytes),
    )


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
