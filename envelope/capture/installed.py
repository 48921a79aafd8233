"""What is installed in this interpreter: distributions, where they came from, what they own.

Read from the metadata on `sys.path` once per process, and again when a site-packages directory
has changed since. No pip, no second Python.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

OWN_DISTRIBUTION = "model-envelope"
# Our own packages: an editable install does not list what it holds.
OWN_PACKAGES = frozenset({"envelope", "ray_runtime", "controller", "model_envelope"})

OriginKind = Literal["index", "conda", "vcs", "url", "path", "editable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an installed distribution came from.

    url: None for an index or conda; otherwise what a requirement `name @ url` takes, without
    credentials. A `path` is a wheel or folder of this machine: it exists nowhere else.
    """

    kind: OriginKind
    url: str | None = None

    @property
    def can_travel(self) -> bool:
        return self.kind not in ("path", "editable")


INDEX = Origin(kind="index")


class InstalledDistribution:
    """One distribution. The costly parts (files, requirements) are read when first asked for."""

    def __init__(self, name: str, version: str, source: metadata.Distribution, head: str) -> None:
        self.name = name
        self.version = version
        self._source = source
        self._head = head

    def __repr__(self) -> str:
        return f"InstalledDistribution({self.name}=={self.version})"

    @cached_property
    def root(self) -> str:
        """The directory that holds its top-level modules, with links resolved."""
        return os.path.realpath(str(self._source.locate_file("")))

    @cached_property
    def installer(self) -> str:
        return (self._source.read_text("INSTALLER") or "").strip()

    @cached_property
    def origin(self) -> Origin:
        text = self._source.read_text("direct_url.json")
        if text:
            return parse_origin(text, installer=self.installer)
        if self.installer == "conda":
            return Origin(kind="conda")
        # `setup.py develop` leaves its metadata beside the sources.
        if os.path.basename(self.root) not in _SITE_DIRECTORIES and self._is_egg_info:
            return Origin(kind="editable", url=Path(self.root).as_uri())
        return INDEX

    @cached_property
    def requires(self) -> tuple[Requirement, ...]:
        """Every requirement that its metadata states, those of extras included."""
        found = []
        for line in _header_values(self._head, "Requires-Dist"):
            try:
                found.append(Requirement(line))
            except InvalidRequirement:  # old metadata that pip itself skips
                continue
        return tuple(found)

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths relative to `root`, with forward slashes; () where no record was kept."""
        record = self._source.read_text("RECORD")
        if record:
            return tuple(_record_path(line) for line in record.splitlines() if line)
        listed = self._source.read_text("installed-files.txt")
        if listed:  # relative to the egg-info directory
            return tuple(line[3:] for line in listed.splitlines() if line.startswith("../"))
        return ()

    @cached_property
    def module_stems(self) -> frozenset[str]:
        """`a/b` for every module a.b that it holds, packages by their `__init__`."""
        return frozenset(stem for path in self.files if (stem := _module_stem(path)))

    @cached_property
    def top_levels(self) -> frozenset[str]:
        """Names that `import` takes. An editable install is read from its top_level.txt."""
        if self.name == OWN_DISTRIBUTION:
            return OWN_PACKAGES
        found = {path.partition("/")[0] for path in self.files if _is_module_path(path)}
        names = {entry.partition(".")[0] for entry in found}
        if not names:
            names = set((self._source.read_text("top_level.txt") or "").split())
        return frozenset(names or {self.name.replace("-", "_")})

    @cached_property
    def _is_egg_info(self) -> bool:
        return self._source.read_text("METADATA") is None

    def read_text(self, name: str) -> str | None:
        """Return a file of its metadata directory, or None."""
        return self._source.read_text(name)


class Installed:
    """The distributions of this interpreter, by normalised name."""

    def __init__(self, distributions: dict[str, InstalledDistribution]) -> None:
        self.distributions = distributions

    def get(self, name: str) -> InstalledDistribution | None:
        return self.distributions.get(canonicalize_name(name))

    @cached_property
    def versions(self) -> dict[str, str]:
        return {name: self.distributions[name].version for name in sorted(self.distributions)}

    @cached_property
    def by_top_level(self) -> dict[str, tuple[InstalledDistribution, ...]]:
        found: dict[str, list[InstalledDistribution]] = {}
        for distribution in self.distributions.values():
            for top in distribution.top_levels:
                found.setdefault(top, []).append(distribution)
        return {top: tuple(owners) for top, owners in found.items()}

    @cached_property
    def editables(self) -> tuple[tuple[str, InstalledDistribution], ...]:
        """(project directory, distribution) of the editable installs that are not ours."""
        return tuple(
            (path, distribution)
            for distribution in self.distributions.values()
            if distribution.name != OWN_DISTRIBUTION
            and distribution.origin.kind == "editable"
            and (path := path_of(distribution.origin.url or "")) is not None
        )

    def owners(self, module: str) -> tuple[InstalledDistribution, ...]:
        """Return the distributions that hold a module, by name alone; () when none does.

        Several share a namespace (`google`): the longest part of the name that a file stands
        for decides, and the namespace itself belongs to nobody.
        """
        candidates = self.by_top_level.get(module.partition(".")[0], ())
        if len(candidates) < 2:
            return candidates
        parts = module.split(".")
        for length in range(len(parts), 0, -1):
            stem = "/".join(parts[:length])
            if found := tuple(d for d in candidates if stem in d.module_stems):
                return found
        return ()

    def editable_at(self, path: str) -> InstalledDistribution | None:
        """Return the editable install whose project directory holds this file."""
        for project, distribution in self.editables:
            if path.startswith(project + os.sep):
                return distribution
        return None


_SITE_DIRECTORIES = ("site-packages", "dist-packages")
_Fingerprint = tuple[tuple[str, ...], tuple[int, ...]]
_cached: tuple[_Fingerprint, Installed] | None = None
_by_entry: dict[str, tuple[int, list[InstalledDistribution]]] = {}  # entry -> when it changed, what


def installed() -> Installed:
    """Return what is installed now. Cached until sys.path or a directory on it changes."""
    global _cached
    now = _fingerprint(sys.path)
    if _cached is None or _cached[0] != now:
        _cached = (now, read_installed(sys.path))
    return _cached[1]


def read_installed(path: Iterable[str]) -> Installed:
    """Read the metadata on a search path; the first of a name wins, as import does."""
    found: dict[str, InstalledDistribution] = {}
    for entry in path:
        for distribution in _distributions_in(os.path.abspath(entry)):
            found.setdefault(distribution.name, distribution)
    return Installed(found)


def _distributions_in(entry: str) -> list[InstalledDistribution]:
    """Read one entry of a search path, again only when it changed.

    Other entries come and go: each envelope with local modules that is loaded brings one.
    """
    changed_at = _changed_at(entry)
    known = _by_entry.get(entry)
    if known is not None and known[0] == changed_at:
        return known[1]
    found = []
    for source in metadata.distributions(path=[entry]):
        head = _head(source.read_text("METADATA") or source.read_text("PKG-INFO") or "")
        name = next(_header_values(head, "Name"), "")
        version = next(_header_values(head, "Version"), "")
        if name and version:  # a half-removed install has neither
            found.append(InstalledDistribution(canonicalize_name(name), version, source, head))
    _by_entry[entry] = changed_at, found
    return found


def _fingerprint(path: Iterable[str]) -> _Fingerprint:
    entries = tuple(map(os.path.abspath, path))
    return entries, tuple(map(_changed_at, entries))


def _changed_at(entry: str) -> int:
    try:
        return os.stat(entry).st_mtime_ns
    except OSError:
        return 0


def parse_origin(direct_url: str, *, installer: str = "") -> Origin:
    """Read a direct_url.json (PEP 610).

    Packages built by conda name a folder of the build machine there: they come from a channel.
    """
    record = json.loads(direct_url)
    url = without_credentials(str(record.get("url", "")))
    if record.get("dir_info", {}).get("editable"):
        return Origin(kind="editable", url=url)
    if vcs := record.get("vcs_info"):
        subdirectory = record.get("subdirectory")
        suffix = f"#subdirectory={subdirectory}" if subdirectory else ""
        return Origin(kind="vcs", url=f"{vcs['vcs']}+{url}@{vcs['commit_id']}{suffix}")
    if urlsplit(url).scheme in ("file", ""):
        return Origin(kind="conda") if installer == "conda" else Origin(kind="path", url=url)
    hashes = record.get("archive_info", {}).get("hashes", {})
    suffix = f"#sha256={hashes['sha256']}" if "sha256" in hashes else ""
    return Origin(kind="url", url=url + suffix)


def without_credentials(url: str) -> str:
    """Drop what lets somebody in from a URL; `git@host` (an ssh user, no secret) stays.

    `user:password@`, parameters of the query whose names say so (signed addresses), and the
    `/t/<token>` that conda puts before a channel.
    """
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return url
    query = "&".join(
        one for one in parts.query.split("&") if not _SECRET.search(one.partition("=")[0])
    )
    parts = parts._replace(query=query, path=_CONDA_TOKEN.sub("/", parts.path))
    url = urlunsplit(parts)
    if "@" not in parts.netloc or (parts.scheme == "ssh" and ":" not in parts.netloc.split("@")[0]):
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


_SECRET = re.compile("token|sig|secret|passw|credential|auth|key", re.IGNORECASE)
_CONDA_TOKEN = re.compile("^/t/[^/]+/")


def path_of(url: str) -> str | None:
    """Return the real path that a file: URL names."""
    parts = urlsplit(url)
    return os.path.realpath(unquote(parts.path)) if parts.scheme == "file" else None


def _head(text: str) -> str:
    """Return the header block of a METADATA file, without the long description."""
    return re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]


def _header_values(head: str, field: str) -> Iterator[str]:
    prefix = field + ":"
    for line in head.splitlines():
        if line.startswith(prefix):
            yield line[len(prefix) :].strip()


def _record_path(line: str) -> str:
    if line.startswith('"'):  # a path with a comma is quoted, inner quotes doubled
        return line[1 : line.index('",')].replace('""', '"')
    return line.rsplit(",", 2)[0]


_MODULE_SUFFIXES = (".py", ".so", ".pyd")


def _is_module_path(path: str) -> bool:
    return path.endswith(_MODULE_SUFFIXES) and not path.startswith(("..", "/", "__editable__"))


def _module_stem(path: str) -> str | None:
    if not _is_module_path(path):
        return None
    folder, _, file = path.rpartition("/")
    stem = file.partition(".")[0]
    if stem == "__init__":
        return folder
    return f"{folder}/{stem}" if folder else stem
