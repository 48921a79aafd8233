"""What a local module imports, read from its source without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from envelope.capture.modules import ModuleSource
from envelope.capture.reach import Reached
from envelope.errors import DependencyError

_TOLERANT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_TEST_FOLDERS = frozenset({"tests", "test", "testing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported name: `a.b` of `import a.b`, `a.b.c` of `from a.b import c`."""

    name: str
    line: int
    is_optional: bool


def reach_sources(source: ModuleSource) -> list[Reached]:
    """List what a local module imports, at its top and inside its functions.

    Starts from the parts that this process has imported (or all but tests, when it has imported
    none) and follows imports inside the module. Imports that the source copes without, under
    `try: ... except ImportError`, are optional; those for type checkers are left out.
    Raises DependencyError when a file is not Python.
    """
    files = {
        _dotted(inside): path for inside, path in source.files() if inside.endswith((".py", ".pyi"))
    }
    found: dict[str, Reached] = {}
    pending = _starts(source, files)
    seen: set[str] = set()
    while pending:
        module = pending.pop()
        if module in seen or module not in files:
            continue
        seen.add(module)
        path = files[module]
        stat = path.stat()
        for item in scan_imports(str(path), module, stat.st_mtime_ns, stat.st_size):
            if source.covers(item.name):
                pending += _prefixes(item.name)
                continue
            via = f"{path}, line {item.line},"
            known = found.get(item.name)
            if known is None or known.is_optional:
                found[item.name] = Reached(module=item.name, via=via, is_optional=item.is_optional)
    return list(found.values())


def _starts(source: ModuleSource, files: dict[str, Path]) -> list[str]:
    loaded = [module for module in files if module in sys.modules]
    if loaded:
        return loaded
    return [name for name in files if _TEST_FOLDERS.isdisjoint(name.split("."))]


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _dotted(inside: str) -> str:
    parts = inside.rpartition(".")[0].split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=4096)  # keyed by the file's stamp: a changed file is read again
def scan_imports(path: str, module: str, mtime_ns: int, size_bytes: int) -> tuple[Import, ...]:
    """Return the imports of one source file. mtime_ns, size_bytes: its stamp, for the cache."""
    try:
        tree = ast.parse(Path(path).read_bytes(), filename=path)
    except (SyntaxError, ValueError) as exc:
        raise DependencyError(
            f"{path} of modules= is not Python: {exc}; fix it or leave the module out"
        ) from exc
    is_package = Path(path).stem == "__init__"
    package = module if is_package else module.rpartition(".")[0]
    return tuple(_scan(tree, package, is_optional=False))


def _scan(node: ast.AST, package: str, *, is_optional: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(name=alias.name, line=node.lineno, is_optional=is_optional)
    elif isinstance(node, ast.ImportFrom):
        base = _base(node, package)
        for alias in node.names:
            name = base if alias.name == "*" else f"{base}.{alias.name}"
            yield Import(name=name, line=node.lineno, is_optional=is_optional)
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        for statement in node.orelse:
            yield from _scan(statement, package, is_optional=is_optional)
    elif isinstance(node, ast.Try) and any(map(_catches_import_error, node.handlers)):
        for child in ast.iter_child_nodes(node):
            yield from _scan(child, package, is_optional=True)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _scan(child, package, is_optional=is_optional)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parent = ".".join(parts[: len(parts) - node.level + 1])
    return f"{parent}.{node.module}" if node.module else parent


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        (name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", None)) in _TOLERANT
        for name in names
    )
