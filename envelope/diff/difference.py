"""Compare two envelopes that were read already: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from envelope.diff.changes import Change, Kind, TextChange, changes, flatten, text_change
from envelope.diff.moments import ColumnChange, moment_changes
from envelope.diff.schemas import TypeChange, schema_changes
from envelope.manifest import Environment, Function, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An envelope as it is now. metrics: the latest, as JSON. files: of its local modules, by path.

    Files that both envelopes hold may be left out of both.
    """

    manifest: Manifest
    created_at: datetime
    functions: Mapping[str, Function]
    tags: Mapping[str, str]
    metrics: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Which envelope."""

    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionChange:
    """A function that differs. answers: one output per row, or why not."""

    name: str
    kind: Kind
    schema: tuple[TypeChange, ...] = ()
    answers: Change | None = None
    source: TextChange | None = None
    statistics: tuple[ColumnChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs between two envelopes. Empty where they are alike; `print` shows it as text."""

    a: Side
    b: Side
    model: tuple[Change, ...]
    functions: tuple[FunctionChange, ...]
    environment: tuple[Change, ...]
    packages: tuple[Change, ...]
    modules: tuple[TextChange, ...]
    hyperparameters: tuple[Change, ...]
    fitted: tuple[Change, ...]
    datasets: tuple[Change, ...]
    tags: tuple[Change, ...]
    metrics: tuple[Change, ...]

    def __str__(self) -> str:
        from envelope.diff.text import as_text

        return as_text(self)


def diff(a: Described, b: Described) -> Diff:
    """Compare two envelopes, from `a` to `b`."""
    return Diff(
        a=_side(a),
        b=_side(b),
        model=changes(_model(a.manifest), _model(b.manifest)),
        functions=_functions(a.functions, b.functions),
        environment=changes(_places(a.manifest.environment), _places(b.manifest.environment)),
        packages=changes(_lock(a.manifest.environment), _lock(b.manifest.environment)),
        modules=_files(a.files, b.files),
        hyperparameters=changes(
            flatten(a.manifest.hyperparameters), flatten(b.manifest.hyperparameters)
        ),
        fitted=changes(flatten(a.manifest.fitted), flatten(b.manifest.fitted)),
        datasets=changes(flatten(a.manifest.datasets), flatten(b.manifest.datasets)),
        tags=changes(a.tags, b.tags),
        metrics=changes(a.metrics, b.metrics),
    )


def _side(one: Described) -> Side:
    return Side(id=one.manifest.id, name=one.manifest.name, created_at=one.created_at)


def _model(manifest: Manifest) -> dict[str, Any]:
    artifact = manifest.artifact
    return {
        "type": artifact.type,
        "codec": artifact.codec,
        "size_bytes": sum(blob.size_bytes for blob in artifact.blobs),
        "sha256": [blob.sha256 for blob in artifact.blobs],
        "default function": manifest.default_function,
    }


def _places(environment: Environment) -> dict[str, str]:
    return {
        "python": environment.python,
        "implementation": environment.implementation,
        "platform": environment.platform,
    }


def _lock(environment: Environment) -> dict[str, str]:
    return {
        package.name: f"{package.version} @ {package.origin}" if package.origin else package.version
        for package in environment.packages
    }


def _functions(
    old: Mapping[str, Function], new: Mapping[str, Function]
) -> tuple[FunctionChange, ...]:
    found = []
    for change in changes(old, new):
        if change.kind != "changed":
            found.append(FunctionChange(name=change.name, kind=change.kind))
            continue
        function = _function(change.old, change.new)
        if function != FunctionChange(name=change.name, kind="changed"):
            found.append(function)
    return tuple(found)


def _function(old: Function, new: Function) -> FunctionChange:
    answers = changes({"answers": _answers(old)}, {"answers": _answers(new)})
    return FunctionChange(
        name=new.name,
        kind="changed",
        schema=schema_changes(old.schema, new.schema),
        answers=answers[0] if answers else None,
        source=text_change(new.name, old.source, new.source),
        statistics=moment_changes(old.statistics, new.statistics),
    )


def _answers(function: Function) -> str:
    return "one output per row" if function.row_wise.is_row_wise else function.row_wise.reason


def _files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> tuple[TextChange, ...]:
    found = (text_change(path, old.get(path), new.get(path)) for path in sorted({*old, *new}))
    return tuple(change for change in found if change is not None)
