"""A lock becomes a virtual environment: built once per node, used only when complete."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

from envelope.environment.bytecode import share_bytecode
from envelope.environment.lock import file_lock
from envelope.environment.platforms import Lock
from envelope.environment.process import Log
from envelope.environment.runtime import check_python
from envelope.environment.spec import EnvironmentSpec
from envelope.environment.use import (
    READY,
    claim,
    install_hook,
    is_ready,
    last_used,
    python_of,
)
from envelope.environment.uv import install_options, run_uv, uv_environ
from envelope.errors import EnvironmentBuildError
from envelope.manifest import Package

BUILD_TIMEOUT_S = 600.0  # as Ray's own runtime_env setup; big wheels over a slow line take minutes


def build_environment(
    spec: EnvironmentSpec,
    root: Path,
    *,
    wheel: Path | None = None,
    log: Log | None = None,
    timeout_s: float = BUILD_TIMEOUT_S,
) -> Path:
    """Return the Python of the environment `root/<spec.key>`, building it when it is not there.

    wheel: model-envelope itself, see repack_wheel; installed without its dependencies, which are
    among the spec's constraints. log: is called with each line that uv says.
    However many processes ask, one builds and the others wait. A builder that is killed leaves
    nothing that anyone would use: the next one removes it.
    Raises DependencyError for another Python minor; EnvironmentBuildError, with the resolver's own
    words, when the packages cannot be had or do not go together.
    """
    check_python(locked=spec.python, running=_version())
    target = root.absolute() / spec.key
    if python := claim(target):
        return python
    try:
        with file_lock(root.absolute() / ".locks" / spec.key, timeout_s=timeout_s) as descriptor:
            if not is_ready(target):
                _build(spec, target, wheel, log or _silent, timeout_s, descriptor)
            # With the lock of builders held, so that it is not removed before it is noted as used.
            return claim(target) or python_of(target)
    except TimeoutError as exc:
        raise EnvironmentBuildError(
            f"environment {spec.key}: {exc}; look for the process that builds it, or wait longer"
        ) from exc
    except OSError as exc:
        raise EnvironmentBuildError(
            f"environment {spec.key} cannot be written to {root}: {exc.strerror or exc}; free disk "
            "space, or set ENVELOPE_ENVIRONMENTS to a folder that can be written"
        ) from exc


def requirement_lines(packages: Sequence[Package], constraints: Sequence[str] = ()) -> list[str]:
    """Return the lines of a requirements file: the lock exactly, then what the runtime adds."""
    lock = [f"{p.name} @ {p.origin}" if p.origin else f"{p.name}=={p.version}" for p in packages]
    return [*lock, *constraints]


def _build(
    spec: EnvironmentSpec,
    target: Path,
    wheel: Path | None,
    log: Log,
    timeout_s: float,
    descriptor: int,
) -> None:
    deadline = time.monotonic() + timeout_s
    environ = uv_environ(os.environ, cache_near=target.parent)
    what = f"environment {spec.key} (Python {spec.python}, {len(spec.packages)} locked packages)"

    def uv(*arguments: str) -> None:
        run_uv(
            arguments,
            environ=environ,
            what=what,
            log=log,
            timeout_s=max(1.0, deadline - time.monotonic()),
            keep_open=(descriptor,) if sys.platform != "win32" else (),
        )

    if target.exists():
        shutil.rmtree(target)
    try:
        uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(target))
        install = ("pip", "install", *install_options(environ), "--python", str(python_of(target)))
        if lines := requirement_lines(spec.lock.packages, spec.constraints):
            arguments = ["--requirements", _write_lines(target / "requirements.txt", lines)]
            for option, packages in _wishes(spec.lock).items():
                if lines := requirement_lines(packages):
                    arguments += [f"--{option}", _write_lines(target / f"{option}.txt", lines)]
            uv(*install, *arguments)
        if wheel is not None:
            uv(*install, "--no-deps", str(wheel))
        install_hook(target, _site_packages(target))
        for donor in _donors(target):
            share_bytecode(str(donor), str(_site_packages(target)))
        _mark_ready(target, spec)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _wishes(lock: Lock) -> dict[str, list[Package]]:
    """What goes against other packages' wishes, and what is wished where it is required."""
    return {
        "overrides": [one for one in (*lock.packages, *lock.preferred) if one.is_forced],
        "constraints": [one for one in lock.preferred if not one.is_forced],
    }


def _write_lines(path: Path, lines: Sequence[str]) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _donors(target: Path) -> list[Path]:
    """Whose bytecode may fit: this interpreter's own, and the environment that was used last."""
    folders = [folder for folder in target.parent.iterdir() if folder.name[0] != "."]
    used = {folder: last_used(folder) for folder in folders}
    others = [folder for folder, at in used.items() if at is not None]
    latest = sorted(others, key=lambda folder: used[folder] or 0.0)[-1:]
    return [Path(sysconfig.get_paths()["purelib"]), *map(_site_packages, latest)]


def _site_packages(target: Path) -> Path:
    if sys.platform == "win32":
        return target / "Lib" / "site-packages"
    minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return target / "lib" / minor / "site-packages"


def _mark_ready(target: Path, spec: EnvironmentSpec) -> None:
    record = {"python": spec.python, "platform": spec.platform, "built_at": time.time()}
    partial = target / f"{READY}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())  # a marker that outlives a power cut must not be the only thing
    partial.replace(target / READY)


def _version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def _silent(line: str) -> None:
    del line
