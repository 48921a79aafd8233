"""Prove an envelope: rebuild its environment from the lock, load it there, replay its samples.

All away from where it was trained: a fresh interpreter, an empty folder, an empty HOME, and none of
this process's variables but those that a machine has. Without Ray. See docs/environments.md.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from envelope.capture.environment import platform_tag
from envelope.capture.installed import OWN_DISTRIBUTION
from envelope.connection import Connection
from envelope.environment import (
    EnvironmentSpec,
    build_environment,
    check_python,
    is_ready,
    repack_wheel,
    runtime_requirements,
    runtime_version,
    sweep,
    transitive_of,
)
from envelope.environment.process import Ended, run_process
from envelope.errors import (
    ConfigError,
    DependencyError,
    EnvelopeError,
    EnvironmentBuildError,
    IntegrityError,
)
from envelope.manifest import Function, Manifest
from envelope.proof_process import Result, Step, Task
from envelope.registry import EnvelopeRow, Proof, Report
from envelope.replay import Replay
from envelope.store import Store
from envelope.transfer import copy_envelope

TIMEOUT_S = 600.0  # to load and replay: large models over slow disks take minutes
# What a machine has, as opposed to what the shell of a training run has: where its programs, its
# libraries and its temporary files are, its language, its processors.
_OF_THE_MACHINE = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    }
)
_OF_THE_MACHINE_PREFIXES = ("LC_", "CUDA_", "NVIDIA_")

Tell = Callable[[str], None]

_STEPS: dict[Step, str] = {
    "build": "rebuilding its environment",
    "load": "loading it there",
    "replay": "replaying its sample there",
}


class ProofError(EnvelopeError):
    """An envelope that was tried and is not proved.

    step: which failed. output: what its process said last; it may hold what the model prints.
    """

    def __init__(
        self, reason: str, *, envelope_id: str, step: Step, output: Iterable[str] = ()
    ) -> None:
        self.envelope_id = envelope_id
        self.step = step
        self.output = tuple(output)
        self.reason = reason
        lines = [f"envelope {envelope_id} is not proved: {_STEPS[step]} failed: {reason}"]
        super().__init__("\n".join([*lines, *(f"  {line}" for line in self.output)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where a proof is made. environments_dir: environments outlive it, so that the next is quick.

    tell: is called with what is being done. timeout_s: of loading and replaying.
    """

    environments_dir: Path
    tell: Tell
    timeout_s: float = TIMEOUT_S


def verify(
    connection: Connection,
    row: EnvelopeRow,
    *,
    tolerance: float | None = None,
    tell: Tell | None = None,
) -> Proof:
    """Prove an envelope on this machine, and record what came of it in the registry.

    tolerance: how far floats may be apart, relatively; None: what other processors make of the same
    sums (1e-9 for float64, 1e-5 for float32), 0: not at all. Must be stated for a function that
    answered differently every time when it was saved.
    Raises ProofError, which is recorded too: what failed here last is not proved here. Raises
    StorageError, and DependencyError for another Python minor or a machine that cannot build:
    nothing was tried then, and nothing is recorded.
    """
    check_tolerance(tolerance)
    settings = connection.settings
    place = Workplace(environments_dir=settings.environments_dir, tell=tell or _tell_stderr)
    try:
        report = prove(connection.store, row, place, tolerance)
    except ProofError as exc:
        record_failure(connection, exc, platform=platform_tag())
        raise
    finally:
        sweep(place.environments_dir, limit_bytes=settings.environments_max_bytes)
    return connection.registry.add_proof(
        row.id, platform=platform_tag(), ok=True, actor=connection.actor, report=report
    )


def check_tolerance(tolerance: float | None) -> None:
    """Raise ConfigError for what is no relative difference."""
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"tolerance is {tolerance}; give a relative difference, as in 0.001")


def record_failure(connection: Connection, failed: ProofError, *, platform: str) -> None:
    """Record that an envelope was tried on a platform and is not proved there."""
    # The resolver's words are kept, not what the model prints: that may be anybody's data.
    words = failed.output if failed.step == "build" else ()
    detail = "\n".join([f"{_STEPS[failed.step]} failed: {failed.reason}", *words])
    connection.registry.add_proof(
        failed.envelope_id,
        platform=platform,
        ok=False,
        actor=connection.actor,
        detail=detail.replace("\0", "").encode(errors="replace").decode(),
    )


def prove(store: Store, row: EnvelopeRow, place: Workplace, tolerance: float | None) -> Report:
    """Rebuild, load, replay. Records nothing. Raises as `verify` does."""
    began = time.perf_counter()
    manifest = check_provable(store, row, tolerance)
    spec, python = _build(manifest, place)
    place.tell(f"loading it and replaying {len(row.functions)} function(s) there")
    functions = replay_with(
        store,
        Replayed(
            envelope_id=row.id,
            manifest_sha256=row.manifest_sha256,
            function_hashes=dict(row.functions),
        ),
        python,
        tolerance=tolerance,
        timeout_s=place.timeout_s,
    )
    return Report(
        python=spec.python,
        environment=spec.key,
        took_s=round(time.perf_counter() - began, 3),
        functions=functions,
    )


def check_provable(store: Store, row: EnvelopeRow, tolerance: float | None) -> Manifest:
    """Read an envelope that is to be proved by a Python like this one.

    Raises ProofError when its records were changed or its answers are of chance, DependencyError
    for another Python minor.
    """
    try:
        manifest = store.get_manifest(row.id, row.manifest_sha256)
        functions = [store.get_function(row.id, *pair) for pair in row.functions.items()]
    except IntegrityError as exc:
        raise ProofError(str(exc), envelope_id=row.id, step="load") from exc
    check_python(locked=manifest.environment.python, running=platform.python_version())
    if tolerance is None:
        _refuse_random(row.id, functions)
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The envelope that is replayed, by what its registry row says."""

    envelope_id: str
    manifest_sha256: str
    function_hashes: dict[str, str]


def replay_with(
    store: Store, what: Replayed, python: Path, *, tolerance: float | None, timeout_s: float
) -> dict[str, Replay]:
    """Load an envelope in a fresh process of `python` and replay its samples, by function.

    Raises ProofError, StorageError.
    """
    with tempfile.TemporaryDirectory(prefix="envelope-proof-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        task = Task(
            store_url=_within_reach(store, what, folder),
            envelope_id=what.envelope_id,
            manifest_sha256=what.manifest_sha256,
            function_hashes=what.function_hashes,
            modules_dir=str(folder / "modules"),
            rtol=tolerance,
        )
        return dict(_carry_out(task, python, folder, timeout_s).functions)


def proof_spec(manifest: Manifest) -> EnvironmentSpec:
    """Return the environment of a proof: the lock, and what it takes to load an envelope."""
    packages = manifest.environment.packages
    return EnvironmentSpec(
        python=platform.python_version(),
        platform=platform_tag(),
        packages=packages,
        locked_on=manifest.environment.platform,
        transitive=transitive_of(manifest.environment, platform_tag()),
        constraints=runtime_requirements(packages, roots=(OWN_DISTRIBUTION,)),
        runtime_version=runtime_version(),
    )


def machine_variables(environ: Mapping[str, str], *, home: Path, python: Path) -> dict[str, str]:
    """Return the variables of the process that proves: the machine's own, and an empty HOME.

    Folders of this interpreter's environment are taken out of the paths.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _OF_THE_MACHINE or name.startswith(_OF_THE_MACHINE_PREFIXES)
    }
    for name in kept.keys() & {"PATH", "LD_LIBRARY_PATH"}:
        folders = kept[name].split(os.pathsep)
        kept[name] = os.pathsep.join(
            folder for folder in folders if not Path(folder).is_relative_to(sys.prefix)
        )
    kept["PATH"] = os.pathsep.join([str(python.parent), kept.get("PATH") or os.defpath])
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), "PYTHONNOUSERSITE": "1"}


def _refuse_random(envelope_id: str, functions: Iterable[Function]) -> None:
    random = [one.name for one in functions if one.sample and one.is_deterministic is False]
    if random:
        raise ProofError(
            f"{', '.join(random)} answered the same call differently every time when it was saved, "
            "so that there is no answer to compare with; seed it inside the function and save it "
            "again, or say how far answers may be apart: "
            f"envelope verify {envelope_id} --tolerance 0.01, or env.verify(tolerance=0.01)",
            envelope_id=envelope_id,
            step="replay",
        )


def _build(manifest: Manifest, place: Workplace) -> tuple[EnvironmentSpec, Path]:
    root = place.environments_dir
    try:
        spec = proof_spec(manifest)
    except DependencyError as exc:  # the lock and model-envelope cannot go together
        raise ProofError(str(exc), envelope_id=manifest.id, step="build") from exc
    if not is_ready(root.absolute() / spec.key):
        place.tell(f"building environment {spec.key} ({len(spec.packages)} locked packages)")
    try:
        wheel = repack_wheel(OWN_DISTRIBUTION, root / ".wheels")
        return spec, build_environment(spec, root, wheel=wheel, log=_without_packages(place.tell))
    except EnvironmentBuildError as exc:
        if not exc.output:  # uv was not reached: a full disk, say, which is not the envelope's
            raise
        raise ProofError(
            f"{exc.summary}; look at what the resolver says, at the indexes that pip is set to "
            "here, and save the model again with packages that can be installed",
            envelope_id=manifest.id,
            step="build",
            output=exc.output,
        ) from exc


def _without_packages(tell: Tell) -> Tell:
    """Pass on how far uv is, and not the names of what it installs: the lock says them."""
    return lambda line: None if line.startswith((" ", "Using ")) else tell(f"uv: {line}")


def _within_reach(store: Store, what: Replayed, folder: Path) -> str:
    """Return a store that needs no credentials, which the proving process has not."""
    if store.folder.is_local:
        return store.url
    near = Store(str(folder / "store"))
    try:
        copy_envelope(
            store,
            near,
            what.envelope_id,
            manifest_sha256=what.manifest_sha256,
            function_hashes=what.function_hashes,
        )
    except IntegrityError as exc:
        raise ProofError(str(exc), envelope_id=what.envelope_id, step="load") from exc
    return near.url


def _carry_out(task: Task, python: Path, folder: Path, timeout_s: float) -> Result:
    for name in ("home", "cwd"):
        (folder / name).mkdir()
    task_path, result_path = folder / "task.json", folder / "result.json"
    task_path.write_bytes(msgspec.json.encode(task))
    ended = run_process(
        [
            *(str(python), "-I", "-X", "faulthandler", "-m", "envelope.proof_process"),
            *(str(task_path), str(result_path)),
        ],
        environ=machine_variables(os.environ, home=folder / "home", python=python),
        cwd=folder / "cwd",
        log=lambda line: None,
        timeout_s=timeout_s,
    )
    if not result_path.exists():
        reason = f"its process {_how(ended, timeout_s)} before it began; build it anew: remove "
        raise ProofError(
            f"{reason}{python.parent.parent}",
            envelope_id=task.envelope_id,
            step="load",
            output=ended.lines,
        )
    result = msgspec.json.decode(result_path.read_bytes(), type=Result)
    if result.failure is not None:
        raise ProofError(result.failure, envelope_id=task.envelope_id, step=result.step)
    if not result.is_whole:
        raise ProofError(
            f"its process {_how(ended, timeout_s)}; call the function in an empty folder of a new "
            "environment with the envelope's packages to see why",
            envelope_id=task.envelope_id,
            step=result.step,
            output=ended.lines,
        )
    return result


def _how(ended: Ended, timeout_s: float) -> str:
    if ended.is_late:
        return f"was ended after {timeout_s:g} s"
    if ended.status < 0:
        return f"died of {signal.Signals(-ended.status).name}"
    return f"ended with status {ended.status}"


def _tell_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
