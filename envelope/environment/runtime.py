"""What the runtime adds to a model's lock, and where the two do not go together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envelope.capture.installed import OWN_DISTRIBUTION, Installed, installed
from envelope.capture.requirements import Edge, applies, close
from envelope.capture.requirements import edges as requirements_of
from envelope.environment.wheel import content_hash
from envelope.errors import DependencyError
from envelope.manifest import Package

# Filesystems that a store or a table may be on, with the URLs that need them.
_FILESYSTEMS = {
    "s3fs": ("s3:", "s3a:"),
    "gcsfs": ("gs:", "gcs:"),
    "adlfs": ("abfs:", "abfss:", "az:", "adl:"),
}


def runtime_roots(
    locked: Sequence[Package] = (), *, store_url: str = "", here: Installed | None = None
) -> tuple[str, ...]:
    """Return what an environment holds beside the model's lock, as requirements.

    The filesystem of the store is always among them. Others that the node has (tables may lie
    there) only where they and the lock go together: no model fails for a filesystem it never meets.
    Nor for Ray Data, which serving does without: see check_batch.
    """
    here = here or installed()
    pins = {package.name: package.version for package in locked}
    filesystems = [
        name
        for name, schemes in _FILESYSTEMS.items()
        if here.get(name) and (store_url.startswith(schemes) or _fits(name, pins, here))
    ]
    if _clashes_of_data(pins, here):
        return ("ray[default,serve]", OWN_DISTRIBUTION, *_beside_ray(here), *filesystems)
    return ("ray[default,serve,data]", f"{OWN_DISTRIBUTION}[ray]", *filesystems)


def _beside_ray(here: Installed) -> list[str]:
    """What our extra `ray` asks for, but Ray."""
    own = here.get(OWN_DISTRIBUTION)
    lines = [] if own is None else [edge.requirement for edge in requirements_of(own, ("ray",))]
    return [
        f"{line.name}{line.specifier}"
        for line in lines
        if line.name != "ray" and not applies(line.marker, ())
    ]


def check_batch(locked: Sequence[Package], *, here: Installed | None = None) -> None:
    """Refuse a lock that can be served and not batch-scored, since Ray Data cannot live with it.

    Raises DependencyError naming both sides.
    """
    here = here or installed()
    pins = {package.name: package.version for package in locked}
    if clashes := _clashes_of_data(pins, here):
        raise DependencyError(
            _explain(clashes, pins, here.versions, requirers={"ray": "ray[data]"})
            + "; a deployment of it answers"
        )


def _clashes_of_data(pins: Mapping[str, str], here: Installed) -> list[Edge]:
    """What the data extra asks for, beside what every Ray does."""
    _, without = close([Requirement("ray[default,serve]")], here)
    _, edges = close([Requirement("ray[default,serve,data]")], here)
    own = [edge for edge in edges if edge.requirer == "ray" and edge not in without]
    return [edge for edge in own if edge.clashes_with(pins)]


def _fits(name: str, pins: Mapping[str, str], here: Installed) -> bool:
    _, edges = close([Requirement(name)], here)
    return not any(edge.clashes_with(pins) for edge in edges)


def runtime_requirements(
    locked: Sequence[Package],
    *,
    roots: Sequence[str] | None = None,
    store_url: str = "",
    here: Installed | None = None,
) -> tuple[str, ...]:
    """Return the requirement lines that the runtime adds to a lock, sorted by name.

    The roots (default: runtime_roots; one with a version range leaves the version to the lock) and
    all that they pull in, pinned to the versions of this interpreter, which is the cluster's; what
    the lock pins is left to the lock, and a package of ours that cannot live with the lock's pins
    is left to the resolver. model-envelope itself is installed from its wheel.
    Raises DependencyError naming both sides when the lock and a root cannot go together.
    """
    here = here or installed()
    if roots is None:
        roots = runtime_roots(locked, store_url=store_url, here=here)
    wanted = [Requirement(root) for root in roots]
    _check_present(wanted, here)
    pins = {package.name: package.version for package in locked}
    versions, edges = close(wanted, here)
    ranges = [Edge(requirer=OWN_DISTRIBUTION, requirement=one) for one in wanted if one.specifier]
    clashes = [edge for edge in (*ranges, *edges) if edge.clashes_with(pins)]
    extras: dict[str, set[str]] = {canonicalize_name(root.name): root.extras for root in wanted}
    fixed = extras.keys() - _FILESYSTEMS.keys() - {edge.required for edge in ranges}
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


def _explain(
    edges: Sequence[Edge],
    pins: Mapping[str, str],
    versions: Mapping[str, str],
    *,
    requirers: Mapping[str, str] = MappingProxyType({}),
) -> str:
    sides = [
        f"the model needs {edge.required}=={pins[edge.required]}, "
        f"{requirers.get(edge.requirer, edge.requirer)} "
        f"{versions[edge.requirer]} needs {edge.required}{edge.requirement.specifier}"
        for edge in edges
    ]
    remedy = "save the model with a version that both accept, or serve it on a cluster of another"
    return "; ".join(sorted(set(sides))) + f": {remedy}"
