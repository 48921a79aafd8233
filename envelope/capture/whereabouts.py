"""Where a module comes from: a distribution, a local file, or nowhere."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from envelope.capture.installed import (
    OWN_PACKAGES,
    Installed,
    InstalledDistribution,
    installed,
)

_OWN_ROOT = os.path.realpath(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A module that is a file here and belongs to no distribution that can be installed."""

    name: str
    path: str
    editable: str | None = None  # "name version" of the editable install that it is part of

    def explain(self, *, via: str) -> str:
        what = f"part of the editable install of {self.editable}" if self.editable else "local code"
        root = self.name.partition(".")[0]
        return (
            f"module {self.name!r} ({self.path}) is {what}, and {via} needs it where the model "
            f"will run: pass it with modules=[{root}], or install its package from an index"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A module that cannot be found here."""

    name: str

    def explain(self, *, via: str) -> str:
        return (
            f"module {self.name!r} is not installed, and {via} needs it where the model will run: "
            "install its package before saving, or pass it with modules=[...] if it is yours"
        )


def place_module(
    module: str, here: Installed
) -> tuple[InstalledDistribution, ...] | Local | Missing:
    """Find the distributions that hold a module.

    () for a namespace that several distributions share: its parts have owners, it has none.
    A local file that hides an installed module of the same name counts as local.
    """
    top = module.partition(".")[0]
    path = _path_of(top)
    candidates = here.by_top_level.get(top, ())
    if path is not None and not any(_is_below(path, owner.root) for owner in candidates):
        return _local(_loaded_part(module), path, here)
    owners = here.owners(module)
    for owner in owners:
        if owner.origin.kind == "editable":
            return _local(top, path or owner.root, here, owner)
    if owners or candidates:
        return owners
    found = _find_spec(top) if path is None else None
    if found is not None and found.submodule_search_locations:  # a local namespace
        return _local(_loaded_part(module), next(iter(found.submodule_search_locations)), here)
    return Missing(name=_loaded_part(module))


def is_local_module(module: str) -> bool:
    """Say whether a module is a file here that no package brings; `__main__` is none."""
    return module not in ("__main__", "__mp_main__") and isinstance(
        place_module(module, installed()), Local
    )


def is_ours(module: str) -> bool:
    """Say whether a module is part of Model Envelope, which every environment has anyway.

    By its file, for anyone may have a module named `controller`.
    """
    top = module.partition(".")[0]
    path = _path_of(top) if top in OWN_PACKAGES else None
    return path is not None and _is_below(path, _OWN_ROOT)


def owner_of_file(path: Path, module: str, here: Installed) -> InstalledDistribution | None:
    """Return the distribution, editable or not, that a module's file belongs to."""
    if editable := here.editable_at(os.path.realpath(path)):
        return editable
    owners = here.owners(module)
    return next((owner for owner in owners if _is_below(str(path), owner.root)), None)


def _local(
    name: str, path: str, here: Installed, owner: InstalledDistribution | None = None
) -> Local:
    owner = owner or here.editable_at(os.path.realpath(path))
    described = f"{owner.name} {owner.version}" if owner else None
    return Local(name=name, path=path, editable=described)


def _path_of(top: str) -> str | None:
    """Return the file of a top-level module; None for a namespace, or when there is none."""
    module = sys.modules.get(top)
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    if module is not None and spec is None:
        return getattr(module, "__file__", None)
    if spec is None:
        spec = _find_spec(top)
    return spec.origin if spec is not None and spec.has_location else None


def _find_spec(top: str) -> ModuleSpec | None:
    """Find a top-level module without importing it; editable installs hook in here too."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # loaded without a spec
        return None


def _is_below(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(root + os.sep)


def _loaded_part(module: str) -> str:
    """Shorten `a.b.function` to `a.b`, as far as it is known which part is a module."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in sys.modules:
            return ".".join(parts[:length])
    return module
