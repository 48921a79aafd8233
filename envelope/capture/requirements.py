"""Close a set of distributions over what they require, as their metadata says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envelope.capture.installed import Installed, InstalledDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One distribution requires another. requirer: its normalised name."""

    requirer: str
    requirement: Requirement

    @property
    def required(self) -> str:
        return canonicalize_name(self.requirement.name)

    def clashes_with(self, versions: Mapping[str, str]) -> bool:
        """Say whether the version that is there is not one that is asked for."""
        version = versions.get(self.required)
        return version is not None and not self.requirement.specifier.contains(
            version, prereleases=True
        )


def applies(marker: Marker | None, extras: Iterable[str]) -> bool:
    """Say whether a requirement holds here, for a distribution installed with these extras."""
    if marker is None:
        return True
    return any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def edges(distribution: InstalledDistribution, extras: Iterable[str]) -> Iterator[Edge]:
    """Yield what a distribution with these extras requires on this platform."""
    wanted = tuple(extras)
    for requirement in distribution.requires:
        if applies(requirement.marker, wanted):
            yield Edge(requirer=distribution.name, requirement=requirement)


def close(roots: Iterable[Requirement], installed: Installed) -> tuple[dict[str, str], list[Edge]]:
    """Follow requirements from the roots through what is installed.

    Returns ({normalised name: installed version}, every edge met). What is required but not
    installed has edges to it and no version: the one who asks decides what that means.
    """
    extras: dict[str, set[str]] = {}
    met: dict[tuple[str, str], Edge] = {}
    pending: list[tuple[str, set[str]]] = [
        (canonicalize_name(root.name), set(root.extras)) for root in roots
    ]
    while pending:
        name, wanted = pending.pop()
        distribution = installed.distributions.get(name)
        if distribution is None or (name in extras and wanted <= extras[name]):
            continue
        extras.setdefault(name, set()).update(canonicalize_name(extra) for extra in wanted)
        # Metadata spells an extra either way: compare both spellings.
        for edge in edges(distribution, extras[name] | wanted):
            met[(name, str(edge.requirement))] = edge
            pending.append((edge.required, set(edge.requirement.extras)))
    versions = {name: installed.distributions[name].version for name in sorted(extras)}
    return versions, list(met.values())
