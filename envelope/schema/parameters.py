"""Bodies with a member per parameter -> keyword arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from envelope.schema import types as t
from envelope.schema.array_readers import array_column
from envelope.schema.cells import NotPlain
from envelope.schema.columns import column_codec, integer_wire
from envelope.schema.faults import BAD, Faults, Reader
from envelope.schema.json_body import require_no_duplicates
from envelope.schema.scalars import EXACT
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler

Finish = Callable[[Any], Any]


class ParametersCodec:
    """Reads the parameters of one function."""

    def __init__(self, parameters: tuple[t.Parameter, ...], compiler: Compiler) -> None:
        self.parameters = parameters
        self.names = [parameter.name for parameter in parameters]
        self.readers = [compiler.reader(parameter.type) for parameter in parameters]
        self.ignores_extra = compiler.extra_columns == "ignore"
        wires = [
            wire_of(parameter.type, read, compiler)
            for parameter, read in zip(parameters, self.readers, strict=True)
        ]
        self.finishers = [finish for _, finish in wires]
        self.is_direct = not any(self.finishers) and all(p.required for p in parameters)
        struct = msgspec.defstruct(
            "Parameters",
            [
                (f"p{place}", wire)
                if parameter.required
                else (f"p{place}", wire | msgspec.UnsetType, msgspec.UNSET)
                for place, (parameter, (wire, _)) in enumerate(zip(parameters, wires, strict=True))
            ],
            rename={f"p{place}": name for place, name in enumerate(self.names)},
            forbid_unknown_fields=not self.ignores_extra,
            kw_only=True,
        )
        self.decoder = msgspec.json.Decoder(struct).decode

    def decode(self, body: bytes) -> dict[str, Any]:
        """Return the arguments of a JSON body, the fast way. Raises NotPlain."""
        try:
            found = self.decoder(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotPlain from None
        if msgspec.json.encode(found).count(b'"') != body.count(b'"'):
            require_no_duplicates(body)
        values = msgspec.structs.astuple(found)
        if self.is_direct:
            return dict(zip(self.names, values, strict=True))
        return {
            name: value if finish is None else finish(value)
            for name, finish, value in zip(self.names, self.finishers, values, strict=True)
            if value is not msgspec.UNSET
        }

    def read(self, members: Any, faults: Faults) -> Any:
        """Return the arguments of a parsed object; BAD after faults."""
        if not isinstance(members, Mapping):
            return faults.add_value(None, "object with a member per parameter", members)
        before = len(faults.found)
        values = {}
        for parameter, read in zip(self.parameters, self.readers, strict=True):
            path: Path = (None, parameter.name)
            if parameter.name in members:
                values[parameter.name] = read(members[parameter.name], path, faults)
            elif parameter.required:
                faults.add(path, describe(parameter.type), "nothing")
        if not self.ignores_extra:
            for name in members:
                if name not in self.names:
                    faults.add((None, str(name)), "no such parameter", "a value")
        return values if len(faults.found) == before else BAD


def wire_of(kind: t.Type, read: Reader, compiler: Compiler) -> tuple[Any, Finish | None]:
    """Return the msgspec type of a parameter, and what makes the argument of what it decodes.

    Types that msgspec decodes exactly need nothing more; the others go through their reader.
    """
    direct = _direct(kind)
    if direct is not None:
        return direct, None
    if isinstance(kind, t.Array) and kind.shape and _is_number(kind.of):
        return _array(kind, compiler)
    return Any, _through(read)


def _through(read: Reader) -> Finish:
    def finish(value: Any) -> Any:
        faults = Faults()
        found = read(value, None, faults)
        if faults.found:
            raise NotPlain
        return found

    return finish


def _direct(kind: t.Type) -> Any:
    """Return the msgspec type whose decoded value is the argument itself, or None."""
    match kind:
        case t.Boolean():
            return bool
        case t.Integer(bits=bits, signed=signed) if bits != 64 or signed:
            return integer_wire(kind)
        case t.Float(bits=64, nan=False):
            limit = float(EXACT[64])  # beyond it an integer might be rounded: the slow way looks
            return Annotated[float, Meta(gt=-limit, lt=limit)]
        case t.Text():
            return str
        case t.OneOf(values=values) if all(isinstance(v, str) for v in values):
            return Literal[values]
        case t.Maybe(of=of):
            inner = _direct(of)
            return None if inner is None else inner | None
        case t.ListOf(item=item):
            inner = _direct(item)
            return None if inner is None else list[inner]  # type: ignore[valid-type]  # made at run time
        case t.MapOf(key=t.Text(), value=value):
            inner = _direct(value)
            return None if inner is None else dict[str, inner]  # type: ignore[valid-type]  # made at run time
    return None


def _is_number(kind: t.Type) -> bool:
    return isinstance(kind, t.Float | t.Boolean) or (
        isinstance(kind, t.Integer) and (kind.bits != 64 or kind.signed)
    )


def _array(kind: t.Array, compiler: Compiler) -> tuple[Any, Finish]:
    """Decode nested lists of numbers and make the array at once; odd shapes go the slow way."""
    codec = column_codec(array_column(kind), compiler)
    shape, dtype = kind.shape or (), codec.dtype
    wire = codec.wire
    for _ in shape:
        wire = list[wire]  # type: ignore[valid-type]  # made at run time

    def finish(value: Any) -> Any:
        try:
            array = np.array(value, dtype)
        except ValueError:  # lists of different lengths
            raise NotPlain from None
        if array.ndim != len(shape) or any(
            want is not None and have != want for have, want in zip(array.shape, shape, strict=True)
        ):
            raise NotPlain
        return array

    return wire, finish
