"""The environment of a model: everything that is installed, and the part that the model needs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.requirements import Requirement

from envelope.capture.extras import extras_in_use
from envelope.capture.imports import reach_sources
from envelope.capture.installed import (
    OWN_DISTRIBUTION,
    Installed,
    InstalledDistribution,
    installed,
)
from envelope.capture.modules import ModuleSource, find_module_source
from envelope.capture.reach import Reached, reach_code, reach_function, reach_objects
from envelope.capture.requirements import close
from envelope.capture.snapshot import take_snapshot
from envelope.capture.stream import GlobalsSeen, read_stream
from envelope.capture.whereabouts import Local, Missing, is_ours, owner_of_file, place_module
from envelope.errors import DependencyError
from envelope.manifest import Package

# Distributions that people import beside their model and no model needs to answer. They are left
# out when code only mentions them; never when the pickled bytes themselves refer to them, nor when
# a kept distribution requires them. Keep it short: a wrong entry here breaks a model.
NOT_NEEDED = {
    "black": "formats source",
    "coverage": "measures tests",
    "debugpy": "the debugger of notebooks and editors",
    "ipykernel": "runs notebooks",
    "ipywidgets": "draws in notebooks",
    "jupyter": "runs notebooks",
    "jupyter-client": "runs notebooks",
    "jupyter-core": "runs notebooks",
    "jupyter-server": "runs notebooks",
    "jupyterhub": "runs notebooks for a team",
    "jupyterlab": "runs notebooks",
    "mypy": "checks types",
    "notebook": "runs notebooks",
    "pip": "installs; the runtime has its own",
    "pre-commit": "checks commits",
    "pytest": "runs tests",
    "ruff": "checks source",
    "setuptools": "builds packages",
    "uv": "installs; the runtime has its own",
    "virtualenv": "builds environments; the runtime has its own",
    "wheel": "builds packages",
}

_PICKLE = "the pickled model"
# Names that pickles and code use and that no distribution holds. pybind11 makes the last one in
# memory, for the base class of all its classes.
_BUILT_IN = sys.stdlib_module_names | {
    *("__main__", "__mp_main__", "__builtin__", "copy_reg", "pybind11_builtins"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedEnvironment:
    """What it takes to run the bytes.

    packages: the narrowed lock, sorted by name. transitive: the names of those that are in it
    because others require them. snapshot: everything that is installed, JSON-able, see
    capture/snapshot.py.
    """

    packages: tuple[Package, ...]
    transitive: tuple[str, ...]
    python: str
    implementation: str
    platform: str
    snapshot: dict[str, Any]


def capture_environment(
    pickled_globals: Iterable[str] | GlobalsSeen | bytes,
    function: Callable[..., Any] | None,
    modules: Sequence[ModuleType | str | Path] = (),
    *,
    extra_modules: Iterable[str] = (),
) -> CapturedEnvironment:
    """Work out what the model needs, in this process and without loading it again.

    pickled_globals: what the pickler saw (exact and fast), a pickle stream, or module names.
    function: the query function; None when the pickled object says it all.
    modules: local modules that travel with the model; what they import is needed too.
    extra_modules: module names that the caller knows to be needed, e.g. "pandas" for a frame.
    Raises DependencyError naming everything that is neither installable elsewhere nor passed.
    """
    sources = [find_module_source(module) for module in modules]
    reached = _reach(pickled_globals, function, sources)
    reached += [Reached(module=name, via="the caller") for name in extra_modules]
    here = installed()
    lock, transitive = narrow(reached, sources, here)
    return CapturedEnvironment(
        packages=lock,
        transitive=transitive,
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=platform_tag(),
        snapshot=take_snapshot(here),
    )


def platform_tag() -> str:
    """Return e.g. "linux-x86_64", "darwin-arm64", "win32-amd64"."""
    return f"{sys.platform}-{platform.machine().lower()}"


def narrow(
    reached: Iterable[Reached], sources: Sequence[ModuleSource], here: Installed
) -> tuple[tuple[Package, ...], tuple[str, ...]]:
    """Turn reached modules into pinned distributions, closed over their requirements.

    Returns them, and the names of those that only others of them require.
    Raises DependencyError listing every module that cannot be had elsewhere, each with the remedy.
    """
    roots: dict[str, InstalledDistribution] = {}
    faults: dict[str, str] = {}
    for item in reached:
        if _travels_anyway(item.module, sources):
            continue
        place = place_module(item.module, here)
        if isinstance(place, Missing | Local):
            if not (item.is_optional or item.is_guess):
                faults.setdefault(place.name, place.explain(via=item.via))
            continue
        for distribution in place:
            if distribution.name not in NOT_NEEDED or item.via == _PICKLE:
                roots[distribution.name] = distribution
                for extra in extras_in_use(item.module, distribution, here):
                    roots[extra.name] = extra
    _add_requirements_of_passed(sources, here, roots)
    versions, edges = close((Requirement(name) for name in roots), here)
    kept = [here.distributions[name] for name in versions if name != OWN_DISTRIBUTION]
    for distribution in kept:
        if not distribution.origin.can_travel and distribution.name not in faults:
            faults[distribution.name] = _explain_origin(distribution)
    if faults:
        raise DependencyError(_explain_all(list(faults.values())))
    forced = {edge.required for edge in edges if edge.clashes_with(versions)}
    packages = tuple(
        Package(name=d.name, version=d.version, origin=d.origin.url, is_forced=d.name in forced)
        for d in kept
    )
    return packages, tuple(package.name for package in packages if package.name not in roots)


def _travels_anyway(module: str, sources: Sequence[ModuleSource]) -> bool:
    """Say whether a module is built in, passed by the caller, or ours."""
    return (
        not module
        or module.partition(".")[0] in _BUILT_IN
        or any(source.covers(module) for source in sources)
        or is_ours(module)
    )


def _reach(
    pickled: Iterable[str] | GlobalsSeen | bytes,
    function: Callable[..., Any] | None,
    sources: Sequence[ModuleSource],
) -> list[Reached]:
    found: list[Reached] = []
    if isinstance(pickled, bytes | bytearray | memoryview):
        stream = read_stream(bytes(pickled))
        found += [Reached(module=name, via=_PICKLE) for name in sorted(stream.modules)]
        found += reach_objects(stream.loaded_objects(), via=_PICKLE)
        for code in stream.codes:
            found += reach_code(code, package=None, via=f"{code.co_name} in the pickled model")
    elif isinstance(pickled, GlobalsSeen):
        found += [Reached(module=name, via=_PICKLE) for name in sorted(pickled.modules)]
        found += reach_objects(pickled.objects, via=_PICKLE)
    else:
        found += [Reached(module=name, via=_PICKLE) for name in pickled]
    if function is not None:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        found += reach_function(function, via=f"the query function {name}")
    for source in sources:
        found += reach_sources(source)
    return found


def _add_requirements_of_passed(
    sources: Sequence[ModuleSource], here: Installed, roots: dict[str, InstalledDistribution]
) -> None:
    """A passed module may be part of an install: what its metadata requires is needed too."""
    for source in sources:
        owner = owner_of_file(source.paths[0], source.name, here)
        if owner is None:
            continue
        versions, _edges = close([Requirement(owner.name)], here)
        for name in versions.keys() - {owner.name} - NOT_NEEDED.keys():
            roots[name] = here.distributions[name]


def _explain_origin(distribution: InstalledDistribution) -> str:
    kind = distribution.origin.kind
    how = "an editable install of" if kind == "editable" else "installed from"
    return (
        f"{distribution.name} {distribution.version} is {how} {distribution.origin.url}, which "
        "exists on this machine only: install it from an index, a version control or an https URL, "
        f"or pass its modules with modules=[{', '.join(sorted(distribution.top_levels))}]"
    )


def _explain_all(faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    return "the model needs code that cannot travel:\n" + "\n".join(f"  {line}" for line in faults)
