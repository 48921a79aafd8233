"""Save a model: one call after training, everything else is derived.

Bytes are written first, then the functions, then the manifest, then the registry's row: whatever
fails on the way, nobody meets half an envelope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from ulid import ULID

from envelope import artifacts
from envelope.capture import (
    CapturedEnvironment,
    GlobalsSeen,
    capture_context,
    capture_environment,
    describe_datasets,
    describe_fitted,
    pack_module,
    source_of,
)
from envelope.connection import Connection, connect
from envelope.dataflow import Dataflow
from envelope.errors import ConfigError, DependencyError, EnvelopeError
from envelope.handle import Envelope, check_tag_values
from envelope.load import make_importable
from envelope.manifest import (
    FORMAT_VERSION,
    Artifact,
    Environment,
    Function,
    LocalModule,
    Manifest,
)
from envelope.registry.text import MAX_VALUE_BYTES, check_text
from envelope.schema import MISSING
from envelope.store import Store
from envelope.targets import find_target
from envelope.trial import (
    NOT_WANTED,
    SAMPLE_ROWS,
    Example,
    Target,
    Trial,
    check_sensitive,
    try_function,
)


def save_model(
    *,
    name: str,
    query_function: str | Sequence[str] | Callable[..., Any],
    model: Any = None,
    description: str = "",
    api_input: Any = MISSING,
    api_output: Any = MISSING,
    tags: Mapping[str, str] | None = None,
    modules: Sequence[ModuleType | str | Path] = (),
    hyperparameters: Mapping[str, Any] | None = None,
    datasets: Mapping[str, Any] | None = None,
    sample: bool | int = True,
    sensitive: Collection[str] = (),
    verify: bool = False,
) -> Envelope:
    """Save a model as an envelope that never changes, and return the handle on it.

    query_function: a function, or the name of a method of `model`; of a Hamilton driver, a variable
    or a list of them: its inputs are the parameters, its modules travel along.
    api_input, api_output: an example of what it takes and returns, the training data for one, where
    its annotations do not say it all; {"x": ..., "y": ...} for several parameters. Their
    statistics are kept, and a few rows.
    tags: string keys and values; rules and queries ask for them.
    modules: local modules (or their names or paths) that pip cannot install; they travel along.
    hyperparameters: whatever JSON can hold.
    datasets: name -> what the model was trained on, a frame or an address; its hash is kept.
    sample: how many rows of the example to keep with their answers; True: 5, False: none.
    sensitive: columns whose values may be kept nowhere; then there is no sample either.
    verify: prove at once that it runs elsewhere, see `Envelope.verify`. ProofError then says what
    is wrong; the envelope is saved, and not proved.

    Raises SchemaError (no type for a parameter, or the function fails on its own example),
    SerializationError (naming what cannot be pickled), DependencyError (naming what cannot be
    installed elsewhere), ConfigError (tags, name), StorageError. Nothing is saved then.
    """
    target = find_target(query_function, model, api_input=api_input)
    envelope = save_target(
        target,
        Example(
            api_input=_taken(target, api_input),
            api_output=api_output,
            sample_rows=_sample_rows(sample),
            sensitive=check_sensitive(sensitive, api_input, api_output),
        ),
        name=name,
        description=description,
        tags=tags,
        modules=modules,
        hyperparameters=hyperparameters,
        datasets=datasets,
    )
    if verify:
        envelope.verify()
    return envelope


def save_target(
    target: Target,
    example: Example,
    *,
    name: str,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    modules: Sequence[ModuleType | str | Path] = (),
    hyperparameters: Mapping[str, Any] | None = None,
    datasets: Mapping[str, Any] | None = None,
    extra_modules: Sequence[str] = (),
) -> Envelope:
    """Save a function that is found already; see save_model for what it takes and raises.

    extra_modules: names of installed modules that it needs and that nothing in it refers to.
    """
    if not check_text(name, "name", max_bytes=MAX_VALUE_BYTES).strip():
        raise ConfigError("name is empty; say what the model is, as in name='client_ltv'")
    check_text(description, "description")
    tags = check_tag_values(tags or {})
    hyperparameters = check_hyperparameters(hyperparameters or {})
    described_datasets = describe_datasets(datasets or {})
    connection = connect()
    connection.registry.check_may_tag(list(tags), actor=connection.actor)
    needed = [*extra_modules, *_modules_of_values(example)]
    with ThreadPoolExecutor(1) as pool:
        context = pool.submit(capture_context)  # waits for git meanwhile
        trial = try_function(target, example)
        artifact, environment = _write_bytes(connection.store, target, modules, needed)
        envelope_id = str(ULID())
        function = _function(target, trial)
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            id=envelope_id,
            name=name,
            description=description,
            created_at=datetime.now(UTC),
            created_by=connection.actor,
            artifact=artifact,
            functions={target.name: connection.store.put_function(envelope_id, function)},
            default_function=target.name,
            environment=environment,
            context=context.result(),
            hyperparameters=hyperparameters,
            tags=tags,
            sensitive=example.sensitive,
            fitted=describe_fitted(target.obj, values=not example.sensitive),
            datasets=described_datasets,
        )
    sha256 = connection.store.put_manifest(manifest)
    row = connection.registry.register(manifest, sha256, actor=connection.actor)
    return Envelope(connection, row)


def _taken(target: Target, api_input: Any) -> Any:
    """Return the part of the example that the function takes."""
    return target.obj.take_columns(api_input) if isinstance(target.obj, Dataflow) else api_input


def _sample_rows(sample: bool | int) -> int:
    if not isinstance(sample, int) or sample < 0:
        raise ConfigError(f"sample is {sample!r}; give True, False, or how many rows to keep")
    return SAMPLE_ROWS if sample is True else int(sample)


def add_function(
    envelope: Envelope,
    connection: Connection,
    *,
    function: str | Sequence[str] | Callable[..., Any],
    name: str | None,
    api_input: Any,
    api_output: Any,
) -> None:
    """Add a query function to an envelope; see `Envelope.add_query_function`."""
    manifest = envelope.manifest
    default = envelope.functions[manifest.default_function]
    model = None if callable(function) else envelope.load().model
    target = find_target(function, model, name, api_input=api_input)
    if target.name in envelope.functions:
        raise EnvelopeError(
            f"envelope {envelope.id} has a function {target.name!r} already, and functions are "
            "never altered; choose another name, or save a new envelope"
        )
    example = Example(
        api_input=_taken(target, api_input),
        api_output=api_output,
        sample_rows=0 if default.no_sample_reason == NOT_WANTED else SAMPLE_ROWS,
        sensitive=manifest.sensitive,
    )
    trial = try_function(target, example)
    artifact = None
    if target.attribute is None:
        artifact = _write_added(connection.store, target, manifest, example)
    added = _function(target, trial, artifact=artifact)
    sha256 = connection.store.add_function(envelope.id, added)
    connection.registry.add_function(envelope.id, target.name, sha256, actor=connection.actor)


def _write_bytes(
    store: Store,
    target: Target,
    modules: Sequence[ModuleType | str | Path],
    needed: Sequence[str],
) -> tuple[Artifact, Environment]:
    modules = [*modules, *_modules_of(target)]
    packed = dict(pack_module(module) for module in modules)
    artifact, captured = _encode(store, target, modules, needed)
    environment = Environment(
        python=captured.python,
        implementation=captured.implementation,
        platform=captured.platform,
        packages=captured.packages,
        transitive=captured.transitive,
        modules=tuple(
            LocalModule(name=name, blob=store.put_blob(data)) for name, data in packed.items()
        ),
        snapshot=store.put_blob(msgspec.json.encode(captured.snapshot, order="sorted")),
    )
    return artifact, environment


def _modules_of(target: Target) -> list[ModuleType]:
    return target.obj.local_modules() if isinstance(target.obj, Dataflow) else []


def _encode(
    store: Store,
    target: Target,
    modules: Sequence[ModuleType | str | Path],
    needed: Sequence[str],
) -> tuple[Artifact, CapturedEnvironment]:
    seen = GlobalsSeen()
    what = target.name if target.attribute is None else "model"
    artifact = artifacts.encode(target.obj, store, what=what, see=seen.see)
    captured = capture_environment(seen, target.call, modules, extra_modules=sorted(needed))
    return artifact, captured


def _write_added(store: Store, target: Target, manifest: Manifest, example: Example) -> Artifact:
    """Write a function that is added. It may need no more than the envelope has already."""
    make_importable(store, manifest.environment.modules)
    modules = [module.name for module in manifest.environment.modules]
    artifact, captured = _encode(store, target, modules, list(_modules_of_values(example)))
    locked = {package.name: package.version for package in manifest.environment.packages}
    missing = [
        f"{package.name} {package.version} (locked: {locked.get(package.name, 'not at all')})"
        for package in captured.packages
        if locked.get(package.name) != package.version
    ]
    if missing:
        raise DependencyError(
            f"{target.name} needs packages that envelope {manifest.id} does not have: "
            f"{', '.join(missing)}; an envelope's environment is never altered: save a new one"
        )
    return artifact


def _function(target: Target, trial: Trial, artifact: Artifact | None = None) -> Function:
    return Function(
        name=target.name,
        schema=trial.schema,
        row_wise=trial.row_wise,
        attribute=target.attribute,
        artifact=artifact,
        description=_description(target.call),
        sample=trial.sample,
        no_sample_reason=trial.no_sample_reason,
        statistics=trial.statistics,
        source=source_of(target.call),
        call_ms=trial.call_ms,
        is_deterministic=trial.is_deterministic,
    )


def _description(function: Any) -> str:
    """Return the first paragraph of the docstring."""
    text = getattr(function, "__doc__", None) or ""
    return " ".join(text.strip().split("\n\n")[0].split())


def _modules_of_values(example: Example) -> Iterator[str]:
    """Name the packages whose objects the function is given: a frame needs pandas there too."""
    for value in (example.api_input, example.api_output):
        members: Iterable[Any] = value.values() if isinstance(value, dict) else (value,)
        for member in members:
            if member is not MISSING:
                yield type(member).__module__.partition(".")[0]


def check_hyperparameters(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return them as plain JSON values, numpy's numbers converted.

    Raises EnvelopeError naming every member that JSON cannot hold.
    """
    faults: list[str] = []
    plain = _plain(hyperparameters, "hyperparameters", faults)
    if faults:
        raise EnvelopeError(
            "hyperparameters must be what JSON can hold; convert these, for example with str():\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    checked: dict[str, Any] = plain
    return checked


def _plain(value: Any, path: str, faults: list[str]) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                faults.append(f"{path}: the key {key!r} is a {type(key).__name__}, not a string")
            elif not _is_unicode(key):
                faults.append(f"{path}: the key {key!r} holds half a surrogate pair")
        return {str(key): _plain(item, f"{path}[{key!r}]", faults) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{place}]", faults) for place, item in enumerate(value)]
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        faults.append(f"{path} is {value}")
    elif type(value) is int and abs(value) >= 2**63:
        faults.append(f"{path} is an integer of more than 64 bits")
    elif isinstance(value, str) and not _is_unicode(value):
        faults.append(f"{path} holds half a surrogate pair")
    elif not isinstance(value, str | int | float | bool | None):
        faults.append(f"{path} is a {type(value).__name__}")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
