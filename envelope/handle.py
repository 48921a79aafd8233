"""The handle on an envelope that the SDK gives out."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from envelope.connection import Connection
from envelope.errors import ConfigError
from envelope.load import LoadedEnvelope, load_envelope
from envelope.manifest import Function, Manifest
from envelope.metrics import decode_metric, encode_metric, latest_values
from envelope.registry import EnvelopeRow, Proof
from envelope.registry.tags import check_tags
from envelope.schema import MISSING

if TYPE_CHECKING:
    from envelope.diff import Diff
    from envelope.schema.types import FunctionSchema


class Envelope:
    """A saved model. Tags and metrics can change, functions be added; nothing else ever changes.

    What it shows is as it was when it was read; `refresh` reads it again.
    """

    __slots__ = ("_connection", "_functions", "_loaded", "_manifest", "_row")

    _connection: Connection
    _row: EnvelopeRow
    _manifest: Manifest | None
    _functions: dict[str, Function]
    _loaded: LoadedEnvelope | None

    def __init__(self, connection: Connection, row: EnvelopeRow) -> None:
        self._keep(_connection=connection, _row=row, _manifest=None, _functions={}, _loaded=None)

    # What it is

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def name(self) -> str:
        return self._row.name

    @property
    def description(self) -> str:
        return self._row.description

    @property
    def created_at(self) -> datetime:
        """When it was registered, by the registry's clock, UTC."""
        return self._row.created_at

    @property
    def created_by(self) -> str:
        return self._row.created_by

    @property
    def tags(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self._row.tags))

    @property
    def manifest(self) -> Manifest:
        """All that was captured. Raises IntegrityError if it was changed."""
        if self._manifest is None:
            store = self._connection.store
            self._keep(_manifest=store.get_manifest(self.id, self._row.manifest_sha256))
        assert self._manifest is not None
        return self._manifest

    @property
    def functions(self) -> Mapping[str, Function]:
        """The query functions by name, the default one first."""
        for name, sha256 in self._row.functions.items():
            if name not in self._functions:
                function = self._connection.store.get_function(self.id, name, sha256)
                self._functions[name] = function
        names = sorted(self._row.functions, key=lambda name: name != self._row.default_function)
        return MappingProxyType({name: self._functions[name] for name in names})

    @property
    def schema(self) -> FunctionSchema:
        """The schema of the default function."""
        return self.functions[self._row.default_function].schema

    def metrics(self) -> dict[str, Any]:
        """Read the latest value of every metric.

        One of a type that this process did not register is a dict: its JSON form.
        """
        return {name: decode_metric(raw) for name, raw in self.metrics_json().items()}

    def metrics_json(self) -> dict[str, Any]:
        """Read the latest value of every metric as it is kept: a number, or JSON with a `type`."""
        return latest_values(self._connection.registry.metrics(self.id))

    def diff(self, other: Envelope) -> Diff:
        """Compare it with another envelope: what differs from this one to the other.

        Nothing is unpickled. `print` shows it as text. Raises IntegrityError.
        """
        from envelope.diff import describe_pair, diff

        stores = self._connection.store, other._connection.store
        return diff(*describe_pair(self, stores[0], other, stores[1]))

    # What can change

    def refresh(self) -> Envelope:
        """Read again what can change. Returns the same handle."""
        self._keep(_row=self._connection.registry.envelope(self.id))
        return self

    def set_tags(self, **tags: str) -> None:
        """Set tags; others stay. Who changed what, and when, is kept.

        Raises ConfigError for a tag that is not a string.
        """
        check_tag_values(tags)
        self.change_tags(tags)

    def remove_tags(self, *keys: str) -> None:
        """Remove tags; those that are not there are passed over."""
        self.change_tags(dict.fromkeys(keys))

    def change_tags(self, changes: Mapping[str, str | None]) -> None:
        """Set and remove tags in one step; None removes."""
        self._connection.registry.set_tags(self.id, changes, actor=self._connection.actor)
        self.refresh()

    def log_metrics(
        self,
        metrics: Mapping[str, Any] | None = None,
        /,
        *,
        at: datetime | None = None,
        **more: Any,
    ) -> None:
        """Log values of metrics: numbers, lists of them, DataFrames, `me.Vector`, `me.Curve` and
        their like, objects of classes that `me.metric_type` registered. Earlier values are kept.

        metrics: for names that are no Python names. at: what time the values are about; aware,
        default now. Raises EnvelopeError for what is no metric.
        """
        values = {**(metrics or {}), **more}
        encoded = {name: encode_metric(name, value) for name, value in values.items()}
        self._connection.registry.log_metrics(self.id, encoded, actor=self._connection.actor, at=at)

    def add_query_function(
        self,
        function: str | Sequence[str] | Callable[..., Any],
        name: str | None = None,
        *,
        api_input: Any = MISSING,
        api_output: Any = MISSING,
    ) -> None:
        """Add a query function: another method of the model, or a function, as in `save_model`.

        A deployment answers it from its next release on. name: default the function's own.
        Raises EnvelopeError if there is one of this name; SchemaError, DependencyError.
        """
        from envelope.save import add_function

        add_function(
            self,
            self._connection,
            function=function,
            name=name,
            api_input=api_input,
            api_output=api_output,
        )
        self.refresh()

    # What it answers

    def load(self, *, check_environment: bool = True) -> LoadedEnvelope:
        """Load the model into this process, its hashes checked first. This runs its code.

        check_environment: refuse when packages here differ from those that it was saved with.
        Raises IntegrityError, DependencyError, StorageError.
        """
        return load_envelope(
            self._connection.store,
            self.id,
            manifest_sha256=self._row.manifest_sha256,
            function_hashes=self._row.functions,
            check_environment=check_environment,
        )

    def query(self, *args: Any, function: str | None = None, **kwargs: Any) -> Any:
        """Ask the model in this process, through the same checks as HTTP; loads it once.

        function: another function than the default one. Raises SchemaError, and what `load` does.
        """
        if self._loaded is None or self._loaded.functions.keys() != self._row.functions.keys():
            self._keep(_loaded=self.load())
        assert self._loaded is not None
        return self._loaded.function(function).query(*args, **kwargs)

    def verify(self, *, tolerance: float | None = None) -> Proof:
        """Prove that it runs elsewhere: rebuild its environment, load it, replay its samples.

        What came of it is recorded, for queries to ask: `proved = true`. Progress is on stderr.
        tolerance: how far floats may be apart, relatively; None: as far as another processor makes
        them. Has to be given for a function that answered differently every time.
        Raises `envelope.proof.ProofError`, saying which step failed, and why.
        """
        from envelope.proof import verify

        return verify(self._connection, self._row, tolerance=tolerance)

    def proofs(self) -> list[Proof]:
        """Read every proof that was tried, oldest first. The last one of a platform counts."""
        return self._connection.registry.proofs(self.id)

    # How it looks

    def __repr__(self) -> str:
        tags = "".join(f" {key}={value}" for key, value in self.tags.items())
        return f"<Envelope {self.id} {self.name} {self.created_at:%Y-%m-%d %H:%M} UTC{tags}>"

    def _repr_html_(self) -> str:
        rows = {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "created": f"{self.created_at:%Y-%m-%d %H:%M:%S} UTC by {self.created_by}",
            "functions": ", ".join(self._row.functions),
            "tags": ", ".join(f"{key} = {value}" for key, value in self.tags.items()),
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{key}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in rows.items()
            if value
        )
        return f"<table>{cells}</table>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Envelope) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"an envelope is never altered, so {name!r} cannot be set; change tags with "
            "set_tags(...), log metrics with log_metrics(...), or save a new envelope"
        )

    def _keep(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def check_tag_values(tags: Mapping[str, object]) -> dict[str, str]:
    """Return tags that can be stored. Raises ConfigError for keys or values that are no strings."""
    for key, value in tags.items():
        if not isinstance(value, str):
            advice = "remove_tags(...) takes one away" if value is None else "write str(...)"
            raise ConfigError(
                f"tag {key!r} is {type(value).__name__} {value!r}, and tags are strings; {advice}"
            )
    checked: dict[str, str] = dict(tags)  # type: ignore[arg-type]  # just checked
    check_tags(checked)
    return checked
