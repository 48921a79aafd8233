"""An envelope as the build context of a container image that serves it, without Ray.

<folder>/
    Dockerfile             builds the environment, then starts the server
    requirements.txt       the lock, and what the server adds to it
    overrides.txt          only where the lock holds versions that its packages refuse
    model_envelope-*.whl   our own code
    store/...              the envelope's own objects, nothing else of the store
    replica.json           which envelope is served, under which name
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from envelope.capture.installed import OWN_DISTRIBUTION, Installed, installed
from envelope.connection import Connection
from envelope.environment import repack_wheel, runtime_requirements
from envelope.environment.build import requirement_lines
from envelope.errors import ConfigError, StorageError
from envelope.manifest import Manifest, Package
from envelope.registry import EnvelopeRow
from envelope.store import Store
from envelope.transfer import copy_envelope

SUFFIX = ".image"
PORT = 8000
# What answers HTTP, and the page that shows how to ask; both come with Ray where Ray is.
_SERVER = ("uvicorn", "httptools", "fastapi-swagger")
_STORE = "store"
_OPTIONS = "replica.json"
_LOCK = "requirements.txt"
_OVERRIDES = "overrides.txt"


def export_image(
    connection: Connection,
    row: EnvelopeRow,
    folder: Path,
    *,
    deployment: str = "model",
    base: str | None = None,
) -> Path:
    """Write the build context of an image that serves an envelope, whole or not at all.

    deployment: the first part of the URL, as of any deployment. base: the image to start from;
    default the official one of the Python that the model was saved with.
    Raises ConfigError for a name that is no deployment's, StorageError when the folder is there
    already or cannot be written, DependencyError when the lock and the server cannot go together.
    """
    _check_name(deployment)
    folder = folder.absolute()
    if folder.exists():
        raise StorageError(f"{folder} exists; remove it, or write to another folder with --to")
    try:
        with tempfile.TemporaryDirectory(prefix=".image-", dir=folder.parent) as name:
            whole = Path(name) / "whole"
            whole.mkdir()
            _write(connection.store, row, whole, deployment, base)
            os.replace(whole, folder)
    except OSError as exc:
        raise StorageError(
            f"{folder}: {exc.strerror or exc}; name a folder that can be made, with room for the "
            "envelope"
        ) from exc
    return folder


def _write(store: Store, row: EnvelopeRow, folder: Path, deployment: str, base: str | None) -> None:
    manifest = store.get_manifest(row.id, row.manifest_sha256)
    packages = manifest.environment.packages
    lines = requirement_lines(packages, server_requirements(packages, installed()))
    forced = requirement_lines([package for package in packages if package.is_forced])
    copy_envelope(
        store,
        Store(str(folder / _STORE)),
        row.id,
        manifest_sha256=row.manifest_sha256,
        function_hashes=row.functions,
    )
    with tempfile.TemporaryDirectory() as name:
        wheel = repack_wheel(OWN_DISTRIBUTION, Path(name))
        shutil.copy(wheel, folder / wheel.name)
    options = {
        "deployment": deployment,
        "envelope_id": row.id,
        "manifest_sha256": row.manifest_sha256,
        "function_hashes": dict(row.functions),
        "release_id": None,
        "store_url": _STORE,
    }
    texts = {
        _LOCK: "\n".join(lines) + "\n",
        _OPTIONS: json.dumps(options, indent=2) + "\n",
        "Dockerfile": dockerfile(manifest, wheel.name, base=base, has_overrides=bool(forced)),
    }
    if forced:
        texts[_OVERRIDES] = "\n".join(forced) + "\n"
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")


def server_requirements(locked: Sequence[Package], here: Installed) -> list[str]:
    """Return what the server adds to a lock: at the versions here, else as the index has it.

    A notebook that saves needs no server, so there may be none to take a version from.
    """
    there = [name for name in _SERVER if here.get(name) is not None]
    pinned = runtime_requirements(locked, roots=(OWN_DISTRIBUTION, *there), here=here)
    return [*pinned, *(name for name in _SERVER if name not in there)]


def dockerfile(manifest: Manifest, wheel: str, *, base: str | None, has_overrides: bool) -> str:
    """Return the steps that make the image. What changes seldom comes first, for the cache."""
    overrides = f" --overrides {_OVERRIDES}" if has_overrides else ""
    files = f"{_LOCK} {_OVERRIDES}" if has_overrides else _LOCK
    install = "uv pip install --no-cache --python python"
    return f"""\
# Envelope {manifest.id}, saved on {manifest.environment.platform}.
# docker build -t model . && docker run -p {PORT}:{PORT} model
FROM {base or f"python:{manifest.environment.python}-slim"}
WORKDIR /envelope
RUN pip install --no-cache-dir uv
COPY {files} ./
RUN {install} --requirements {_LOCK}{overrides}
COPY {wheel} ./
RUN {install} --no-deps {wheel}
COPY {_STORE} ./{_STORE}
COPY {_OPTIONS} ./
ENV HOME=/tmp ENVELOPE_HOME=/tmp/envelope PYTHONUNBUFFERED=1
USER 65534
EXPOSE {PORT}
CMD ["python", "-m", "ray_runtime.standalone", "{_OPTIONS}"]
"""


def _check_name(deployment: str) -> None:
    from envelope.deployment_names import DEPLOYMENT_NAME

    if not DEPLOYMENT_NAME.fullmatch(deployment) or "--" in deployment:
        raise ConfigError(
            f"{deployment!r} is no name of a deployment; use a-z, 0-9, _ and single -, at most 63"
        )
