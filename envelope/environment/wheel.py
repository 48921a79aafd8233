"""A wheel made again from what is installed, so that a node needs no index to have our code."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path

from envelope.capture.installed import OWN_PACKAGES, InstalledDistribution, installed, path_of
from envelope.capture.modules import ModuleSource
from envelope.errors import DependencyError, EnvironmentBuildError

_MTIME = (1980, 1, 1, 0, 0, 0)  # the zip format's zero: equal files make equal wheels
# What an installer wrote, as opposed to what the wheel held.
_NOT_OF_WHEEL = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
)


def repack_wheel(distribution: str, target: Path) -> Path:
    """Make a wheel of an installed distribution, without its sources or a build backend.

    Of an editable install of ours, the packages are taken from the checkout (what a build adds
    from outside them, no node needs). Equal content gives
    the same file, `target/<hash of the content>/<name>-<version>-<tag>.whl`, which is made once.
    Raises DependencyError when it is not installed, or what it holds cannot be told;
    EnvironmentBuildError when it cannot be written.
    """
    found = installed().get(distribution)
    if found is None:
        raise DependencyError(f"{distribution} is not installed here; pip install {distribution}")
    files = wheel_files(found)
    info = f"{_escaped(found.name)}-{found.version}.dist-info"
    name = f"{_escaped(found.name)}-{found.version}-{_tag(files[f'{info}/WHEEL'])}.whl"
    path = target / _hash_of(files)[:16] / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Builders are threads of one process, too.
            partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
            partial.write_bytes(_zip(files, info))
            partial.replace(path)
    except OSError as exc:
        raise EnvironmentBuildError(
            f"the wheel {name} cannot be written to {target}: {exc.strerror or exc}; free disk "
            "space, or set ENVELOPE_ENVIRONMENTS to a folder that can be written"
        ) from exc
    return path


def content_hash(distribution: InstalledDistribution) -> str:
    """Return a hash of everything that its wheel holds."""
    return _hash_of(wheel_files(distribution))


def wheel_files(distribution: InstalledDistribution) -> dict[str, bytes]:
    """Read what the wheel of an installed distribution holds: {path inside: content}, no RECORD."""
    info = f"{_escaped(distribution.name)}-{distribution.version}.dist-info"
    files: dict[str, bytes] = {}
    root = Path(distribution.root)
    for path in distribution.files:
        folder, _, name = path.rpartition("/")
        if path.startswith(("..", "/")) or path.endswith((".pyc", ".pth")):
            continue
        if ".dist-info" in path.partition("/")[0]:
            if name not in _NOT_OF_WHEEL:
                inside = folder.partition("/")[2]
                files["/".join(part for part in (info, inside, name) if part)] = _read(root / path)
        else:
            files[path] = _read(root / path)
    if distribution.origin.kind == "editable":
        files.update(_editable_files(distribution))
    if f"{info}/METADATA" not in files or f"{info}/WHEEL" not in files:
        raise DependencyError(
            f"{distribution.name} {distribution.version} was not installed from a wheel, so that "
            "none can be made of it again; install it with pip install"
        )
    return dict(sorted(files.items()))


def _editable_files(distribution: InstalledDistribution) -> Mapping[str, bytes]:
    project = path_of(distribution.origin.url or "")
    packages = [
        ModuleSource(name=name, paths=(Path(project, name),))
        for name in sorted(distribution.top_levels & OWN_PACKAGES)
        if project is not None and Path(project, name).is_dir()
    ]
    if not packages:
        raise DependencyError(
            f"{distribution.name} {distribution.version} is an editable install whose packages "
            "cannot be told from its metadata; install it without --editable"
        )
    return {inside: _read(path) for package in packages for inside, path in package.files()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise DependencyError(
            f"{path} belongs to an installed package and cannot be read: {exc.strerror}; install "
            "the package again"
        ) from exc


def _tag(wheel: bytes) -> str:
    """Return the file name's tag: of several in the WHEEL file, joined as the standard says."""
    tags = [line[4:].strip() for line in wheel.decode().splitlines() if line.startswith("Tag:")]
    parts = [sorted(set(column)) for column in zip(*(tag.split("-") for tag in tags), strict=True)]
    return "-".join(".".join(part) for part in parts) if tags else "py3-none-any"


def _escaped(name: str) -> str:
    return name.replace("-", "_")


def _hash_of(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, data in files.items():
        digest.update(f"{path}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _zip(files: Mapping[str, bytes], info: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in {**files, f"{info}/RECORD": _record(files, info)}.items():
            entry = zipfile.ZipInfo(path, date_time=_MTIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, data)
    return buffer.getvalue()


def _record(files: Mapping[str, bytes], info: str) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([path, f"sha256={digest}", len(data)])
    writer.writerow([f"{info}/RECORD", "", ""])
    return buffer.getvalue().encode()
