"""Which modules a query function reaches: its globals, closure, decorators, and lazy imports.

Code that travels by value (`__main__`, notebooks, closures) is looked into; code that is imported
where it runs is named by its module.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, get_args, get_origin

import cloudpickle

_MAX_ITEMS = 1000  # of a container in a global: a lookup table of a million rows is data, not code
_PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
)  # exactly: numpy's float is a float too
_IMPORT_NAME = dis.opmap["IMPORT_NAME"]
_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError"})
_IMPORTERS = frozenset({"import_module", "__import__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A module that the model needs, and how that is known.

    is_optional: the code copes without it (`try: import x; except ImportError`).
    is_guess: read from a text constant; only counts when such a module exists.
    """

    module: str
    via: str
    is_optional: bool = False
    is_guess: bool = False


def travels_by_value(obj: Any) -> bool:
    """Say whether cloudpickle writes this function or class itself, and not its name."""
    name = getattr(obj, "__module__", None)
    if name is None or name in ("__main__", "__mp_main__"):
        return True
    module = sys.modules.get(name)
    if module is None:
        return True
    by_value = cloudpickle.list_registry_pickle_by_value()
    if any(name == root or name.startswith(root + ".") for root in by_value):
        return True
    found: Any = module
    for part in getattr(obj, "__qualname__", "<none>").split("."):
        found = getattr(found, part, None)  # "<locals>" is never an attribute
    return found is not obj


def reach_function(function: Callable[..., Any], *, via: str) -> list[Reached]:
    """List the modules that a function, method, partial or callable object reaches.

    Each is named once; classes and functions of modules that are imported where they run are
    not looked into.
    """
    walk = _Walk(via)
    walk.value(function)
    return list(walk.found.values())


def reach_objects(objects: Iterable[Any], *, via: str) -> list[Reached]:
    """As reach_function, for the functions and classes that a pickler met."""
    walk = _Walk(via)
    for obj in objects:
        walk.value(obj)
    return list(walk.found.values())


def reach_code(code: CodeType, *, package: str | None, via: str) -> Iterator[Reached]:
    """Yield the modules that a code object imports, nested functions included."""
    yield from _imports(code, package, via)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from reach_code(constant, package=package, via=via)


class _Walk:
    """Visits objects once each, depth first."""

    def __init__(self, via: str) -> None:
        self.via = via
        self.found: dict[str, Reached] = {}
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # ids are only unique among living objects

    def add(self, reached: Reached) -> None:
        known = self.found.get(reached.module)
        if known is None or (known.is_optional or known.is_guess):
            self.found[reached.module] = reached

    def module(self, name: str | None) -> None:
        if name:
            self.add(Reached(module=name, via=self.via))

    def value(self, obj: Any, names: Iterable[str] = ()) -> None:
        """names: attribute names used beside the object, which may be submodules of it."""
        if isinstance(obj, ModuleType):
            self._module_object(obj, names)
            return
        if type(obj) in _PLAIN or id(obj) in self._seen:
            return
        self._seen.add(id(obj))
        self._kept.append(obj)
        if isinstance(obj, FunctionType):
            self._function(obj)
        elif isinstance(obj, type):
            self._class(obj)
        elif isinstance(obj, MethodType):
            self.value(obj.__self__)
            self.value(obj.__func__)
        elif isinstance(obj, functools.partial):
            self._all([obj.func, *obj.args, *obj.keywords.values()])
        elif isinstance(obj, staticmethod | classmethod):
            self.value(obj.__func__)
        elif isinstance(obj, property):
            self._all([obj.fget, obj.fset, obj.fdel])
        elif isinstance(obj, list | tuple | set | frozenset) and type(obj).__module__ == "builtins":
            self._all(list(obj)[:_MAX_ITEMS])
        elif type(obj) is dict:
            self._all(list(obj.values())[:_MAX_ITEMS])
        elif get_origin(obj) is not None:
            self._all([get_origin(obj), *get_args(obj)])
        elif isinstance(getattr(obj, "__qualname__", None), str):
            self._compiled(obj)
        else:
            self.value(type(obj))

    def _all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.value(value)

    def _module_object(self, module: ModuleType, names: Iterable[str]) -> None:
        name = module.__name__
        if name not in sys.modules:  # made at run time: pickled with all that it holds
            self._all(vars(module).values())
            return
        if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
            # A namespace belongs to no distribution: find which of its loaded parts is used.
            used = set(names)
            for loaded in list(sys.modules):
                if loaded.startswith(name + ".") and used.issuperset(
                    loaded[len(name) + 1 :].split(".")
                ):
                    self.module(loaded)
        self.module(name)

    def _compiled(self, function: Any) -> None:
        """A function of C, Cython or numba, or one behind functools.cache."""
        if not travels_by_value(function):
            self.module(function.__module__)
        self.value(type(function))
        if hasattr(function, "__wrapped__"):
            self.value(function.__wrapped__)

    def _class(self, cls: type) -> None:
        if not travels_by_value(cls):
            # Bases too: a library may inherit from one that it does not require (lightgbm and
            # xgboost from scikit-learn).
            for base in (*cls.__mro__, type(cls)):
                self.module(base.__module__)
            return
        self._all(base for base in cls.__mro__[1:] if base is not object)
        self.value(type(cls))
        self._all(vars(cls).values())

    def _function(self, function: FunctionType) -> None:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self.value(wrapped)
        if not travels_by_value(function):
            self.module(function.__module__)
            return
        package = function.__globals__.get("__package__") or None
        for reached in reach_code(function.__code__, package=package, via=self.via):
            self.add(reached)
        names = set(_names(function.__code__))
        for name in names & function.__globals__.keys():
            self.value(function.__globals__[name], names)
        for cell in function.__closure__ or ():
            try:
                self.value(cell.cell_contents, names)
            except ValueError:  # a cell that is not filled yet
                continue
        self._all(function.__defaults__ or ())
        self._all((function.__kwdefaults__ or {}).values())
        self._all(function.__annotations__.values())


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _imports(code: CodeType, package: str | None, via: str) -> Iterator[Reached]:
    is_optional = not _IMPORT_ERRORS.isdisjoint(code.co_names)
    if _IMPORT_NAME in code.co_code[::2]:
        for name in _imported_names(code, package):
            yield Reached(module=name, via=via, is_optional=is_optional)
    if not _IMPORTERS.isdisjoint(code.co_names):
        for constant in code.co_consts:
            if isinstance(constant, str) and _is_dotted_name(constant):
                yield Reached(module=constant, via=via, is_optional=is_optional, is_guess=True)


def _imported_names(code: CodeType, package: str | None) -> Iterator[str]:
    """Yield `a.b` for `import a.b`, and `a.b.c` for `from a.b import c` (c may be a module)."""
    instructions = list(dis.get_instructions(code))
    base = ""
    for position, instruction in enumerate(instructions):
        if instruction.opname == "IMPORT_NAME":
            level = instructions[position - 2].argval
            base = _absolute(instruction.argval, level if isinstance(level, int) else 0, package)
            yield base
        elif instruction.opname == "IMPORT_FROM":
            yield f"{base}.{instruction.argval}"


def _absolute(name: str, level: int, package: str | None) -> str:
    if not level or not package:
        return name
    parent = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{parent}.{name}" if name else parent


def _is_dotted_name(text: str) -> bool:
    return 0 < len(text) < 200 and all(part.isidentifier() for part in text.split("."))
