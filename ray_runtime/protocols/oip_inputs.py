"""Inference requests -> checked calls. What each column and parameter takes is decided at load.

A frame's tensors are put together as the JSON of columns, most of them as they stand in the
request, and read the way of our own protocol. Many numbers in bytes become Arrow columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from envelope.errors import Fault, SchemaError
from envelope.schema.json_body import parse_json, require_no_duplicates
from ray_runtime.calls import BodyBytes
from ray_runtime.protocols.http import JSON
from ray_runtime.protocols.media import KNOWN_HEADERS, choose_writer
from ray_runtime.protocols.problem import Malformed, NotAcceptable
from ray_runtime.protocols.tensors import (
    InputTensor,
    Place,
    count_of,
    flatten,
    nest,
    numbers_of,
    read_array,
    read_texts,
)

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

BINARY = b"application/octet-stream"
READABLE = (JSON.decode(), BINARY.decode())
FEW_VALUES = 1024  # Arrow takes 0.5 ms to begin with; so many numbers are quicker as JSON
PD_JSON = "pd_json"  # MLServer's word for a column whose texts are JSON

Source: TypeAlias = "np.ndarray[Any, Any] | list[Any] | msgspec.Raw"


class WantedOutput(msgspec.Struct, omit_defaults=True):
    name: str
    parameters: dict[str, Any] | None = None


class Infer(msgspec.Struct, omit_defaults=True):
    """The JSON of an inference request; members that it does not know it ignores."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


class Asked(msgspec.Struct, frozen=True):
    """What the answer repeats and holds. outputs: name -> whether as bytes."""

    id: str | None
    outputs: dict[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What `Accept` lets an answer be: JSON, or JSON with bytes after it."""

    json: bool
    binary: bool
    prefers_binary: bool


@lru_cache(KNOWN_HEADERS)
def read_accept(header: bytes | None) -> Accepted:
    """Return what an Accept header allows. Raises NotAcceptable for neither."""
    return Accepted(
        prefers_binary=choose_writer(header, READABLE) == READABLE[1],
        json=_allows(header, READABLE[0]),
        binary=_allows(header, READABLE[1]),
    )


def _allows(header: bytes | None, media: str) -> bool:
    try:
        return choose_writer(header, (media,)) == media
    except NotAcceptable:
        return False


class Reader:
    """Reads inference requests as calls of one function. outputs: names of all that there are."""

    def __init__(self, checker: Checker, outputs: Sequence[str]) -> None:
        self._checker = checker
        self._outputs = tuple(outputs)
        frame = checker.schema.one_frame
        self._is_frame = frame is not None
        self._places = (
            [Place.of_column(str(column.name), column.type) for column in frame.columns]
            if frame is not None
            else [Place.of_parameter(one.name, one.type) for one in checker.schema.parameters]
        )
        self._by_name = {place.name: place for place in self._places}
        self._infer = msgspec.json.Decoder(Infer)

    def read(self, body: BodyBytes, accepted: Accepted, header_length: bytes | None = None) -> Call:
        """Return the checked call of a body. Raises Malformed, SchemaError and NotAcceptable.

        header_length: the header that says where the JSON ends and the bytes begin.
        """
        length = len(body) if header_length is None else _json_length(header_length, body)
        text = bytes(body[:length])
        try:
            infer = self._infer.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Malformed(f"the body is no inference request: {exc}") from None
        if encode(infer).count(b'"') != text.count(b'"'):  # a member was dropped, or is unknown
            require_no_duplicates(text)
        asked = self._asked(infer, accepted)
        found = self._sources(infer.inputs, memoryview(body)[length:])
        call = self._frame_call(found) if self._is_frame else self._parameters_call(found)
        call.asked = asked
        return call

    def _asked(self, infer: Infer, accepted: Accepted) -> Asked:
        """Decide how the answer is written, before the model is called."""
        parameters = infer.parameters or {}
        default = bool(parameters.get("binary_data_output", accepted.prefers_binary))
        outputs = dict.fromkeys(self._outputs, default)
        if infer.outputs:
            for one in infer.outputs:
                if one.name not in outputs:
                    there = ", ".join(self._outputs)
                    raise Malformed(f"there is no output of this name; there is {there}")
            outputs = {
                one.name: bool((one.parameters or {}).get("binary_data", default))
                for one in infer.outputs
            }
        if not (accepted.binary if any(outputs.values()) else accepted.json):
            raise NotAcceptable(
                f"outputs as bytes are answered as {READABLE[1]}, others as {READABLE[0]}; Accept "
                "has to name what binary_data asks for"
            )
        return Asked(infer.id, outputs)

    def _sources(
        self, inputs: Sequence[InputTensor], binary: memoryview
    ) -> list[tuple[InputTensor, Source]]:
        """Return the inputs with their values; binary ones take their bytes in order."""
        found: list[tuple[InputTensor, Source]] = []
        faults, at = [], 0
        for given in inputs:
            place = self._by_name.get(given.name)
            if place is None and len(self._places) == 1 and len(inputs) == 1:
                place = self._places[0]
            size = (given.parameters or {}).get("binary_data_size")
            if place is not None and given.datatype not in place.datatypes:
                got = f"datatype {given.datatype}"
                faults.append(Fault(path=given.name, expected=place.expected, got=got))
            if size is None:
                count_of(given)
                if given.data is msgspec.UNSET or bytes(given.data)[:1] != b"[":
                    raise Malformed(f"input {given.name} has neither data nor binary_data_size")
                found.append((given, given.data))
                continue
            if type(size) is not int or not 0 <= size <= len(binary) - at:
                raise Malformed(
                    f"input {given.name}: binary_data_size is not what follows the JSON"
                )
            raw = binary[at : at + size]
            is_bytes = place is not None and place.is_bytes
            found.append(
                (given, read_texts(given, raw, as_base64=is_bytes))
                if given.datatype == "BYTES"
                else (given, read_array(given, raw))
            )
            at += size
        if at != len(binary):
            raise Malformed(f"{len(binary) - at} bytes after the JSON belong to no input")
        if len({given.name for given in inputs}) != len(inputs):
            raise Malformed("two inputs have one name")
        if faults:
            raise SchemaError("inputs have other datatypes than the function's", faults)
        return found

    # -- one frame --------------------------------------------------------------------------------

    def _frame_call(self, found: Sequence[tuple[InputTensor, Source]]) -> Call:
        """Return a frame's call: a tensor per column, or one matrix by place."""
        columns: dict[str, Source]
        first = found[0][0] if len(found) == 1 else None
        if first is not None and len(first.shape) == 2 and first.name not in self._by_name:
            columns = self._matrix_columns(first, found[0][1])
        else:
            columns = {given.name: self._column(given, source) for given, source in found}
        arrays = {k: v for k, v in columns.items() if isinstance(v, np.ndarray)}
        if len(arrays) == len(columns) and not _are_few(arrays):
            call = self._arrow_call(arrays)
        else:
            members = [encode(k) + b":" + _as_json(k, v) for k, v in columns.items()]
            call = self._checker.read_json(b"{" + b",".join(members) + b"}")
        for given, _ in found:
            if given.shape[:1] != [call.n_rows]:
                raise Malformed(
                    f"input {given.name}: {call.n_rows} values do not fill the shape {given.shape}"
                )
        return call

    def _column(self, given: InputTensor, source: Source) -> Source:
        """Return a column's values, as they stand in the request wherever they can."""
        place = self._by_name.get(given.name)
        shape = given.shape
        if len(shape) == 2 and shape[1] == 1:  # MLServer sends a column of n values as [n, 1]
            shape = shape[:1]
        if isinstance(source, np.ndarray):
            return source if len(shape) == 1 else nest(source.tolist(), shape)
        is_json = (given.parameters or {}).get("content_type") == PD_JSON
        is_json |= place is not None and place.holds_json and given.datatype == "BYTES"
        if isinstance(source, msgspec.Raw):
            if len(given.shape) == 1 and not is_json:
                return source
            source = flatten(_decoded(source), len(given.shape))
            _require_count(given, source)
        if is_json:
            source = [_parsed(given.name, one) for one in source]
        return nest(source, shape) if shape else source

    def _matrix_columns(self, given: InputTensor, source: Source) -> dict[str, Source]:
        rows, width = given.shape
        if width != len(self._places):
            raise Malformed(
                f"input {given.name} has {width} columns, the frame {len(self._places)}"
            )
        if isinstance(source, np.ndarray):
            wide = source.reshape(rows, width)
            return {place.name: wide[:, at] for at, place in enumerate(self._places)}
        if isinstance(source, msgspec.Raw):
            source = flatten(_decoded(source), 2)
        _require_count(given, source)
        return {place.name: source[at::width] for at, place in enumerate(self._places)}

    def _arrow_call(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> Call:
        import pyarrow as pa

        if len({len(values) for values in columns.values()}) > 1:
            raise Malformed("the inputs have different numbers of rows")
        return self._checker.read_arrow(
            pa.table({k: pa.array(np.ascontiguousarray(v)) for k, v in columns.items()})
        )

    # -- parameters -------------------------------------------------------------------------------

    def _parameters_call(self, found: Sequence[tuple[InputTensor, Source]]) -> Call:
        """Return a call of parameters, a tensor each; the only one may have any name."""
        members = {}
        for given, source in found:
            place = self._by_name.get(given.name)
            if place is None and len(found) == 1 and len(self._places) == 1:
                place = self._places[0]
            name = given.name if place is None else place.name
            members[name] = _argument(place, given, source)
        return self._checker.read_value(members)


def _argument(place: Place | None, given: InputTensor, source: Source) -> Any:
    """Return a tensor as a parameter's value: one element, unless the parameter has many."""
    if isinstance(source, np.ndarray):
        if place is not None and place.is_array:
            return source.reshape(given.shape).copy()  # its own: a model may write into it
        values = source.tolist()
    elif isinstance(source, msgspec.Raw):
        values = flatten(_decoded(source), len(given.shape))
        _require_count(given, values)
    else:
        values = source
    if place is not None and place.is_array:
        array = numbers_of(values)
        if array is not None:
            return array.reshape(given.shape)
    if (place is None or not place.has_many) and len(values) == 1:
        is_json = place is not None and place.holds_json and isinstance(values[0], str)
        return _parsed(given.name, values[0]) if is_json else values[0]
    return nest(values, given.shape)


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


def _decoded(raw: msgspec.Raw) -> Any:
    """Return the values of a tensor. Raises SchemaError for two members of one name in them."""
    text = bytes(raw)
    return parse_json(text) if b"{" in text else decode(text)


def _json_length(header: bytes, body: BodyBytes) -> int:
    text = header.decode("latin-1")
    if not text.isdecimal() or not 0 < int(text) <= len(body):
        raise Malformed("Inference-Header-Content-Length is not the length of the JSON")
    return int(text)


def _require_count(given: InputTensor, values: Sequence[Any]) -> None:
    if len(values) != count_of(given):
        raise Malformed(
            f"input {given.name}: {len(values)} values do not fill the shape {given.shape}"
        )


def _are_few(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Whether these numbers are soon written as JSON, which has no infinity."""
    return sum(map(len, arrays.values())) <= FEW_VALUES and not any(
        array.dtype.kind == "f" and np.isinf(array).any() for array in arrays.values()
    )


def _as_json(name: str, source: Source) -> bytes:
    if isinstance(source, msgspec.Raw):
        return bytes(source)
    if isinstance(source, np.ndarray):
        if source.dtype.kind == "f" and np.isinf(source).any():
            raise Malformed(
                f"input {name} has infinity, which is read only where every input is binary"
            )
        source = source.tolist()
    return encode(source)


def _parsed(name: str, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return parse_json(text.encode()) if "{" in text else decode(text)
    except (msgspec.DecodeError, RecursionError, SchemaError, UnicodeEncodeError):
        raise Malformed(f"input {name}: a text is not the JSON of its value") from None
