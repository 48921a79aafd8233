"""Load an envelope: parse, then check, then make its modules importable, then construct.

With `envelope.artifacts`, this is the only place that unpickles. Needs the store alone, never the
registry.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envelope import artifacts
from envelope.blocking import as_blocking
from envelope.capture import pack_module
from envelope.capture.environment import platform_tag
from envelope.environment import installed_packages, lock_of, unmet
from envelope.errors import DependencyError, EnvelopeError, ModelNotFound
from envelope.manifest import (
    Artifact,
    Environment,
    Function,
    LocalModule,
    Manifest,
    RowWise,
    Sample,
    sha256_of,
)
from envelope.settings import Settings
from envelope.store import Store

if TYPE_CHECKING:
    from envelope.schema import Checker
    from envelope.schema.types import FunctionSchema

ExtraColumns = Literal["refuse", "ignore"]
MAX_SHOWN = 20  # lines of packages that differ


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFunction:
    """A function that can be called.

    call: takes the schema's parameters by name, unchecked; gives a coroutine if it is async.
    """

    function: Function
    call: Callable[..., Any]
    _checkers: dict[ExtraColumns, Checker] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def schema(self) -> FunctionSchema:
        return self.function.schema

    @property
    def row_wise(self) -> RowWise:
        return self.function.row_wise

    @property
    def sample(self) -> Sample | None:
        return self.function.sample

    @property
    def call_ms(self) -> float | None:
        return self.function.call_ms

    @property
    def blocking_call(self) -> Callable[..., Any]:
        """`call`, but it always gives the output: of an async function it waits for it."""
        return as_blocking(self.call)

    def checker_for(self, extra_columns: ExtraColumns = "refuse") -> Checker:
        """Return the compiled checks of its input and output; compiled once."""
        from envelope.schema import compile_checker

        if extra_columns not in self._checkers:
            self._checkers[extra_columns] = compile_checker(
                self.schema,
                extra_columns=extra_columns,
                row_wise=self.row_wise.is_row_wise,
                function=self.call,
            )
        return self._checkers[extra_columns]

    def query(self, *args: Any, **kwargs: Any) -> Any:
        """Call it with Python values, through the same checks as HTTP. Raises SchemaError."""
        checker = self.checker_for()
        output = self.blocking_call(**checker.read_arguments(args, kwargs).arguments())
        checker.check_output(output)
        return output


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEnvelope:
    """An envelope in this process. model: the object that was saved (the function, if no model)."""

    manifest: Manifest
    model: Any
    functions: Mapping[str, LoadedFunction]

    @property
    def default(self) -> LoadedFunction:
        return self.functions[self.manifest.default_function]

    def function(self, name: str | None = None) -> LoadedFunction:
        """Return a function, by default the default one. Raises ModelNotFound, with their names."""
        if name is None:
            return self.default
        if name not in self.functions:
            raise ModelNotFound(
                f"envelope {self.manifest.id} has no function {name!r}; it has "
                f"{', '.join(self.functions)}"
            )
        return self.functions[name]


def load_envelope(
    store: Store,
    envelope_id: str,
    *,
    manifest_sha256: str | None = None,
    function_hashes: Mapping[str, str] | None = None,
    check_environment: bool = True,
    modules_dir: Path | None = None,
) -> LoadedEnvelope:
    """Load an envelope from its store. This runs code that the envelope holds.

    manifest_sha256: what the registry says that the manifest is; None trusts the store.
    function_hashes: name -> SHA-256 of the functions wanted; None: those of the manifest.
    check_environment: refuse another Python minor and other package versions than the lock's.
    modules_dir: where local modules are unpacked, by content; default below ENVELOPE_HOME.
    Raises ModelNotFound, IntegrityError (bytes changed), DependencyError, StorageError.
    """
    manifest = store.get_manifest(envelope_id, manifest_sha256)
    hashes = manifest.functions if function_hashes is None else function_hashes
    functions = [store.get_function(envelope_id, name, sha) for name, sha in hashes.items()]
    if check_environment:
        check_here(manifest.environment, envelope_id)
    make_importable(store, manifest.environment.modules, modules_dir)
    return _construct(store, manifest, functions)


def check_here(environment: Environment, envelope_id: str) -> None:
    """Raise DependencyError unless this Python and its packages are what was locked."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if environment.python.rsplit(".", 1)[0] != here:
        raise DependencyError(
            f"envelope {envelope_id} was saved with Python {environment.python}, this is "
            f"{here}; load it with Python {environment.python}, or query its deployment"
        )
    lines = unmet(lock_of(environment, platform_tag()), installed_packages())
    if lines:
        shown = lines[:MAX_SHOWN]
        if len(lines) > MAX_SHOWN:
            shown.append(f"and {len(lines) - MAX_SHOWN} more")
        raise DependencyError(
            f"envelope {envelope_id} needs other packages than are installed here:\n"
            + "\n".join(f"  {line}" for line in shown)
            + "\ninstall these versions, query its deployment instead, or load it as it is with "
            "check_environment=False"
        )


def make_importable(
    store: Store, modules: Sequence[LocalModule], modules_dir: Path | None = None
) -> None:
    """Put an envelope's local modules on the import path, before everything else.

    Raises DependencyError when a module of one of the names is imported already and differs.
    """
    if not modules:
        return
    folder = modules_dir or _modules_dir()
    for module in modules:
        _check_not_another(module)
        target = folder / module.blob.sha256
        if not target.is_dir():
            _unpack(store.get_blob(module.blob), target)
        if str(target) not in sys.path:
            sys.path.insert(0, str(target))
    importlib.invalidate_caches()


def _modules_dir() -> Path:
    folder = Settings.read().home / "modules"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # a node where the home cannot be written
    return Path(tempfile.mkdtemp(prefix="envelope-modules-"))


def _unpack(archive: bytes, target: Path) -> None:
    """Unpack a zip so that `target` appears whole; another process may be doing the same."""
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=parent))
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            file.extractall(unpacked)
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _check_not_another(module: LocalModule) -> None:
    loaded = sys.modules.get(module.name)
    if loaded is None:
        return
    try:
        _, archive = pack_module(loaded)
        is_same = sha256_of(archive) == module.blob.sha256
    except (DependencyError, OSError):  # its files are gone, or it never had any
        is_same = False
    if not is_same:
        raise DependencyError(
            f"the module {module.name} that is imported here "
            f"({getattr(loaded, '__file__', None) or 'no file'}) is not the one that the envelope "
            "holds; load the envelope in a new process that does not import it"
        )


def _construct(store: Store, manifest: Manifest, functions: Sequence[Function]) -> LoadedEnvelope:
    model = artifacts.decode(manifest.artifact, store)
    objects: dict[Artifact, Any] = {manifest.artifact: model}
    loaded = {}
    for function in functions:
        artifact = function.artifact or manifest.artifact
        if artifact not in objects:
            objects[artifact] = artifacts.decode(artifact, store)
        call = _callable(objects[artifact], function, manifest)
        loaded[function.name] = LoadedFunction(function=function, call=call)
    if manifest.default_function not in loaded:
        raise EnvelopeError(
            f"envelope {manifest.id}: its default function {manifest.default_function!r} is not "
            f"among those to load ({', '.join(loaded) or 'none'})"
        )
    return LoadedEnvelope(manifest=manifest, model=model, functions=loaded)


def _callable(obj: Any, function: Function, manifest: Manifest) -> Callable[..., Any]:
    call = obj if function.attribute is None else getattr(obj, function.attribute, None)
    if not callable(call):
        raise DependencyError(
            f"envelope {manifest.id}: the {type(obj).__name__} has no method "
            f"{function.attribute!r} here; the package that defines it differs from where it was "
            "saved"
        )
    found: Callable[..., Any] = call
    return found
