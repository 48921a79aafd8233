"""What a pickle refers to: read from the stream, or watched while it is written. Nothing is run."""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
from collections.abc import Collection, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from envelope.capture.reach import reach_objects

# cloudpickle's own spelling of what pickle has no opcode for.
_SUBIMPORT = ("cloudpickle.cloudpickle", "subimport")  # a module, by its name
_DYNAMIC_SUBIMPORT = ("cloudpickle.cloudpickle", "dynamic_subimport")
_BUILTIN_TYPE = ("cloudpickle.cloudpickle", "_builtin_type")  # a type that has no importable name
_CODE_TYPES = (("types", "CodeType"), ("builtins", "code"))

_MAX_KEPT_BYTES = 1 << 20  # bytecode is small; a model's arrays are not kept


class _Global(tuple[str, str]):
    """(module, qualified name) as a GLOBAL names it."""


class _Opaque:
    """A value that is not followed."""


_OPAQUE = _Opaque()


class StreamReferences:
    """Modules and code objects that a pickle stream names."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.globals: set[tuple[str, str]] = set()
        self.codes: list[CodeType] = []

    def loaded_objects(self) -> list[Any]:
        """Return the classes and functions named, as far as this process has them loaded."""
        found = []
        for module, name in sorted(self.globals):
            obj: Any = sys.modules.get(module)
            for part in name.split("."):
                obj = getattr(obj, part, None)
            if isinstance(obj, type | FunctionType):
                found.append(obj)
        return found


def read_stream(stream: bytes) -> StreamReferences:
    """List the modules of every GLOBAL, of cloudpickle's modules, and the code of its functions.

    The stream is stepped through with a stack of plain values (text, numbers, small bytes, tuples
    of them): enough to know what a GLOBAL and a code object are made of, nothing is constructed.
    Raises ValueError when it is not a pickle.
    """
    found = StreamReferences()
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _position in pickletools.genops(io.BytesIO(stream)):
            step = _STEPS.get(opcode.name)
            if step is not None:
                step(found, stack, marks, memo, argument)
            else:
                _step_by_effect(opcode, argument, stack, marks)
    except IndexError as exc:
        raise ValueError("not a pickle: it takes more from its stack than it put there") from exc
    return found


def _step_by_effect(
    opcode: pickletools.OpcodeInfo, argument: Any, stack: list[Any], marks: list[int]
) -> None:
    """Do to the stack what pickletools says that the opcode does; results are opaque."""
    before = opcode.stack_before
    if pickletools.markobject in before:
        fixed = before.index(pickletools.markobject)  # operands below the mark
        del stack[_pop_mark(stack, marks) - fixed :]
    elif before:
        del stack[-len(before) :]
    kept = isinstance(argument, bytes | bytearray) and len(argument) > _MAX_KEPT_BYTES
    constant = opcode.name in _CONSTANTS and not kept
    for _ in opcode.stack_after:
        if opcode.name in _LITERALS:
            stack.append(_LITERALS[opcode.name])
        else:
            stack.append(argument if constant else _OPAQUE)


def _pop_mark(stack: list[Any], marks: list[int]) -> int:
    return marks.pop() if marks else len(stack)


_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONSTANTS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    }
)


def _mark(_f: Any, stack: list[Any], marks: list[int], _m: Any, _a: Any) -> None:
    marks.append(len(stack))


def _put(_f: Any, stack: list[Any], _marks: Any, memo: dict[int, Any], argument: Any) -> None:
    memo[len(memo) if argument is None else argument] = stack[-1] if stack else _OPAQUE


def _get(_f: Any, stack: list[Any], _marks: Any, memo: dict[int, Any], argument: Any) -> None:
    stack.append(memo.get(argument, _OPAQUE))


def _dup(_f: Any, stack: list[Any], _marks: Any, _m: Any, _a: Any) -> None:
    stack.append(stack[-1])


def _pop(_f: Any, stack: list[Any], marks: list[int], _m: Any, _a: Any) -> None:
    if marks and marks[-1] == len(stack):
        marks.pop()
    else:
        stack.pop()


def _tuple(_f: Any, stack: list[Any], marks: list[int], _m: Any, _a: Any) -> None:
    start = _pop_mark(stack, marks)
    stack[start:] = [tuple(stack[start:])]


def _tuple_of(size: int) -> Any:
    def step(_f: Any, stack: list[Any], _marks: Any, _m: Any, _a: Any) -> None:
        stack[-size:] = [tuple(stack[-size:])]

    return step


def _global(found: StreamReferences, stack: list[Any], _k: Any, _m: Any, argument: str) -> None:
    module, _, name = argument.partition(" ")
    stack.append(_note(found, module, name))


def _stack_global(found: StreamReferences, stack: list[Any], _k: Any, _m: Any, _a: Any) -> None:
    name, module = stack.pop(), stack.pop()
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ValueError("a GLOBAL of this pickle is not named by text")
    stack.append(_note(found, module, name))


def _note(found: StreamReferences, module: str, name: str) -> _Global:
    found.modules.add(module)
    found.globals.add((module, name))
    return _Global((module, name))


def _reduce(found: StreamReferences, stack: list[Any], _k: Any, _m: Any, _a: Any) -> None:
    arguments, function = stack.pop(), stack.pop()
    stack.append(_applied(found, function, arguments))


def _applied(found: StreamReferences, function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
        return _OPAQUE
    if function in (_SUBIMPORT, _DYNAMIC_SUBIMPORT) and arguments:
        if function == _SUBIMPORT and isinstance(arguments[0], str):
            found.modules.add(arguments[0])
        return _OPAQUE
    if function == _BUILTIN_TYPE and arguments == ("CodeType",):
        return _Global(("types", "CodeType"))
    if function in _CODE_TYPES:
        try:
            code = CodeType(*arguments)  # describes code; running it is another matter
        except (TypeError, ValueError):  # a constant that was not followed, or another Python's
            return _OPAQUE
        found.codes.append(code)
        return code
    return _OPAQUE


_STEPS = {
    "MARK": _mark,
    "MEMOIZE": _put,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "DUP": _dup,
    "POP": _pop,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
}


class GlobalsSeen:
    """Watches a pickler: the exact and fastest way to know what a pickle will refer to.

    Call `see(obj)` from the pickler's `reducer_override`. Unlike the finished stream it costs
    nothing to read back, however large the model.

        class Pickler(cloudpickle.Pickler):
            def reducer_override(self, obj):
                seen.see(obj)
                return super().reducer_override(obj)

    modules: those of functions that are pickled by name. objects: functions and classes, which are
    pickled by name or by value. Iterating gives the names of all modules needed.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self._objects: dict[int, FunctionType | type] = {}

    @property
    def objects(self) -> Collection[FunctionType | type]:
        return self._objects.values()

    def see(self, obj: Any) -> None:
        """Note an object that is being pickled."""
        kind = type(obj)
        if kind is FunctionType or isinstance(obj, type):
            self._objects[id(obj)] = obj
        elif kind is ModuleType:
            if obj.__name__ in sys.modules:  # others are pickled with all that they hold
                self.modules.add(obj.__name__)
        elif kind.__name__ == "ufunc" and kind.__module__ == "numpy":
            # By name, as any global, and its module is looked for: it may be SciPy's.
            self.modules.add(pickle.whichmodule(obj, obj.__name__))  # type: ignore[attr-defined] # undeclared
        elif hasattr(obj, "__qualname__"):  # a compiled function
            self.modules.add(obj.__module__ or "builtins")
        else:
            self._objects[id(kind)] = kind

    def __iter__(self) -> Iterator[str]:
        reached = reach_objects(self.objects, via="the pickled model")
        needed = {r.module for r in reached if not (r.is_optional or r.is_guess)}
        return iter(sorted(self.modules | needed))
