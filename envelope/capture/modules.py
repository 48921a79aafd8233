"""Local modules that travel with the bytes: found, named and packed."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from envelope.errors import DependencyError

MAX_MODULE_BYTES = 200 * 1024 * 1024  # code, not data: more than this belongs in a store
_MTIME = (1980, 1, 1, 0, 0, 0)  # the zip format's own zero, so that equal files make equal zips
_SKIPPED_FOLDERS = frozenset(
    {
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"),
        *(".git", ".hg", ".svn", ".venv", "venv", "node_modules", ".tox", ".nox", ".eggs"),
        *(".idea", ".vscode"),
    }
)
_SKIPPED_SUFFIXES = (".pyc", ".pyo", ".swp", "~")
_SKIPPED_FILES = frozenset({".DS_Store", "Thumbs.db"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSource:
    """Where a local module lies.

    name: the name to import it by: of the outermost regular package, or of the single file.
    paths: the file, or the package's directory; a namespace package may have several.
    """

    name: str
    paths: tuple[Path, ...]

    def covers(self, module: str) -> bool:
        return module == self.name or module.startswith(self.name + ".")

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield (path inside the zip, file), in a fixed order."""
        *parents, last = self.name.split(".")
        for path in self.paths:
            if path.is_file():
                suffix = path.name[len(path.name.split(".", 1)[0]) :]
                yield "/".join([*parents, last + suffix]), path
            else:
                for file in _walk(path, frozenset()):
                    yield "/".join([*parents, last, file.relative_to(path).as_posix()]), file


def pack_module(module: ModuleType | str | Path) -> tuple[str, bytes]:
    """Pack a package, a single file or a namespace package with its data files.

    module: the module itself, its dotted name, or a path. Of a submodule the whole package is
    packed, for it cannot be imported without.
    Returns (the name that it is imported by, a zip whose root goes on the import path). Equal
    files give equal bytes; nothing is compressed, because the store compresses.
    Raises DependencyError when there is no such module, it has no files, or they are too large.
    """
    source = find_module_source(module)
    entries = sorted(dict(source.files()).items())
    size_bytes = sum(path.stat().st_size for _, path in entries)
    if size_bytes > MAX_MODULE_BYTES:
        largest = max(entries, key=lambda entry: entry[1].stat().st_size)[1]
        raise DependencyError(
            f"module {source.name!r} has {size_bytes / 1e6:,.0f} MB of files, at most "
            f"{MAX_MODULE_BYTES / 1e6:,.0f} MB can travel with a model; the largest is {largest}: "
            "keep data outside the package, or pass a smaller subpackage"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in entries:
            info = zipfile.ZipInfo(name, date_time=_MTIME)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # Unix, also when packed on Windows
            archive.writestr(info, path.read_bytes())
    return source.name, buffer.getvalue()


def find_module_source(module: ModuleType | str | Path) -> ModuleSource:
    """Find what to pack for a module, its name or its path, without importing it if need be.

    Raises DependencyError when there is none, or it has no files (built in, made at run time).
    """
    if isinstance(module, ModuleType):
        return _source_of_name(module.__name__, module)
    if isinstance(module, Path) or os.sep in module or module.endswith(".py"):
        return _source_of_path(Path(module))
    return _source_of_name(module, sys.modules.get(module))


def _source_of_path(path: Path) -> ModuleSource:
    path = path.expanduser().absolute()
    if path.is_dir() or (path.is_file() and path.suffix == ".py"):
        # A path inside a package names that package: find its outermost __init__.py.
        while (path.parent / "__init__.py").is_file():
            path = path.parent
        if path.stem.isidentifier():
            return ModuleSource(name=path.stem, paths=(path,))
    raise DependencyError(
        f"modules={str(path)!r}: there is no Python file or package at this path whose name can "
        "be imported; pass the module itself, its dotted name, or the path of its folder or .py"
    )


def _source_of_name(name: str, module: ModuleType | None) -> ModuleSource:
    if name in ("__main__", "__mp_main__"):
        raise DependencyError(
            "modules= has __main__: what it defines travels with the model by itself; leave it out"
        )
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        root = ".".join(parts[:length])
        spec = _find_spec(root)
        if spec is None:
            break
        if spec.origin and spec.has_location:  # a regular package, or a file
            origin = Path(spec.origin)
            is_package = spec.submodule_search_locations is not None
            return ModuleSource(name=root, paths=(origin.parent if is_package else origin,))
        if length == len(parts) and spec.submodule_search_locations:
            return _namespace(root, [Path(part) for part in spec.submodule_search_locations])
    file = getattr(module, "__file__", None)
    if file and len(parts) == 1:  # loaded from a place that is not on the path
        return _source_of_path(Path(file).parent if Path(file).stem == "__init__" else Path(file))
    raise DependencyError(
        f"modules={name!r}: no such module can be imported here, or it has no files (built in, or "
        "made at run time); pass the module itself, or the path of its folder or .py file"
    )


def _namespace(name: str, portions: list[Path]) -> ModuleSource:
    local = tuple(path for path in portions if not _is_site(path))
    if not local:
        raise DependencyError(
            f"module {name!r} is a namespace that installed packages share, with no local files; "
            f"pass the local package inside it, for example modules=['{name}.features']"
        )
    return ModuleSource(name=name, paths=local)


def _is_site(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _find_spec(name: str) -> ModuleSpec | None:
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__spec__ is not None:
        return loaded.__spec__
    parent, _, _ = name.rpartition(".")
    if not parent:
        return PathFinder.find_spec(name)
    try:
        return importlib.util.find_spec(name)
    except ImportError as exc:
        raise DependencyError(f"module {parent!r} fails at import: {exc}") from exc


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield files below a folder in order; linked folders too, but never in a circle."""
    here = os.path.realpath(folder)
    if here in above:
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if entry.name not in _SKIPPED_FOLDERS and not (entry / "pyvenv.cfg").exists():
                yield from _walk(entry, above | {here})
        elif entry.is_file() and not (
            entry.name.endswith(_SKIPPED_SUFFIXES) or entry.name in _SKIPPED_FILES
        ):
            yield entry
