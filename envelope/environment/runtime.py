"""What the runtime adds to a model's lock, and where the two do not go together."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envelope.capture.installed import OWN_DISTRIBUTION, Installed, installed
from envelope.capture.requirements import Edge, close
from envelope.environment.wheel import content_hash
from envelope.errors import DependencyError
from envelope.manifest import Package

# Filesystems that a store may be on: where the node has one, its models need it too.
_STORE_DISTRIBUTIONS = ("s3fs", "gcsfs", "adlfs")


def runtime_roots(here: Installed | None = None) -> tuple[str, ...]:
    """Return what every environment holds beside the model's lock, as requirements."""
    here = here or installed()
    stores = tuple(name for name in _STORE_DISTRIBUTIONS if here.get(name))
    return ("ray[default,serve,data]", f"{OWN_DISTRIBUTION}[ray]", *stores)


def runtime_requirements(
    locked: Sequence[Package],
    *,
    roots: Sequence[str] | None = None,
    here: Installed | None = None,
) -> tuple[str, ...]:
    """Return the requirement lines that the runtime adds to a lock, sorted by name.

    The roots (default: runtime_roots) and all that they pull in, pinned to the versions of this
    interpreter, which is the cluster's; what the lock pins is left to the lock, and a package of
    ours that cannot live with the lock's pins is left to the resolver. model-envelope itself is
    installed from its wheel.
    Raises DependencyError naming both sides when the lock and a root cannot go together.
    """
    here = here or installed()
    wanted = [Requirement(root) for root in (runtime_roots(here) if roots is None else roots)]
    _check_present(wanted, here)
    pins = {package.name: package.version for package in locked}
    versions, edges = close(wanted, here)
    clashes = [edge for edge in edges if edge.clashes_with(pins)]
    extras: dict[str, set[str]] = {canonicalize_name(root.name): root.extras for root in wanted}
    fixed = extras.keys() - set(_STORE_DISTRIBUTIONS)
    _check_roots(fixed, pins, versions)
    if final := [edge for edge in clashes if edge.requirer in fixed]:
        raise DependencyError(_explain(final, pins, versions))
    free = {edge.requirer for edge in clashes}
    lines = []
    for name, version in versions.items():
        chosen = f"[{','.join(sorted(extras[name]))}]" if extras.get(name) else ""
        if name == OWN_DISTRIBUTION or (name in pins and name not in fixed):
            continue
        if name not in free:
            lines.append(f"{name}{chosen}=={version}")
        elif name in extras:
            lines.append(f"{name}{chosen}")
    return tuple(lines)


def runtime_version(distribution: str = OWN_DISTRIBUTION) -> str:
    """Return the version of our own distribution; of an editable install with what it holds.

    "0.1.0", or "0.1.0+e.3f2a90c1" where the files are a checkout that changes under one version.
    """
    found = installed().get(distribution)
    if found is None:
        raise DependencyError(f"{distribution} is not installed here; pip install {distribution}")
    if found.origin.kind != "editable":
        return found.version
    return f"{found.version}+e.{content_hash(found)[:8]}"


def check_python(*, locked: str, running: str) -> None:
    """Refuse a lock of another Python minor: bytecode and compiled packages differ between them.

    Raises DependencyError with the remedy.
    """
    if locked.split(".")[:2] != running.split(".")[:2]:
        minor, here = (".".join(version.split(".")[:2]) for version in (locked, running))
        raise DependencyError(
            f"the model was saved with Python {locked}, and this node runs Python {running}: serve "
            f"it on a cluster of Python {minor}, or save it with Python {here}"
        )


def _check_present(wanted: Sequence[Requirement], here: Installed) -> None:
    missing = [root.name for root in wanted if here.get(root.name) is None]
    if missing:
        raise DependencyError(
            f"{', '.join(missing)} is not installed here, so that there is no version to run the "
            "model with; install model-envelope[ray] on the cluster's nodes"
        )


def _check_roots(fixed: Collection[str], pins: dict[str, str], versions: dict[str, str]) -> None:
    for name in sorted(set(fixed) & pins.keys()):
        if pins[name] != versions[name]:
            raise DependencyError(
                f"the model needs {name}=={pins[name]}, the cluster runs {name} {versions[name]}, "
                "and a replica has to run the cluster's: save the model with that version, or "
                "serve it on a cluster of the model's"
            )


def _explain(edges: Sequence[Edge], pins: dict[str, str], versions: dict[str, str]) -> str:
    sides = [
        f"the model needs {edge.required}=={pins[edge.required]}, {edge.requirer} "
        f"{versions[edge.requirer]} needs {edge.required}{edge.requirement.specifier}"
        for edge in edges
    ]
    remedy = "save the model with a version that both accept, or serve it on a cluster of another"
    return "; ".join(sorted(set(sides))) + f": {remedy}"
