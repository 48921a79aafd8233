"""The registry behind a server: the methods of `Registry`, each as one request."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from envelope.errors import ConfigError
from envelope.manifest import Manifest
from envelope.registry import EnvelopeRow, History, Lease, MetricPoint, Registry, Token, parse
from envelope.registry.envelopes import FIRST_PAGE, PAGE
from envelope.registry.gate_runs import GateRun, RunState
from envelope.registry.metrics import MetricKind, check_time
from envelope.remote import wire
from envelope.remote.client import Client, actor_headers, segment
from envelope.remote.operations import OPERATIONS, Operation, segments
from envelope.remote.records import ImportRecord, RegisterRecord

WAIT_S = 20.0  # of one request for a change; proxies cut those that are silent for longer


class RemoteRegistry(Registry):
    """A registry behind a server. Every method may raise StorageError when it is out of reach."""

    def __init__(self, client: Client) -> None:  # no database: nothing of the base class is used
        self._client = client

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def register(
        self,
        manifest: Manifest,
        manifest_sha256: str,
        *,
        actor: str,
        created_at: datetime | None = None,
    ) -> EnvelopeRow:
        """See `Registry.register`; the server reads the manifest in its own store."""
        if created_at is not None:
            check_time(created_at, "created_at")
        body = wire.encode(
            RegisterRecord(id=manifest.id, manifest_sha256=manifest_sha256, created_at=created_at)
        )
        data = self._client.ask("POST", "/envelopes", body=body, headers=actor_headers(actor))
        row: EnvelopeRow = wire.decode(data, EnvelopeRow)
        return row

    def import_envelope(
        self, manifest: Manifest, manifest_sha256: str, known: History, *, actor: str
    ) -> bool:
        """See `Registry.import_envelope`; the server reads the manifest in its own store."""
        body = wire.encode(ImportRecord(manifest_sha256=manifest_sha256, history=known))
        path = f"/envelopes/{segment(manifest.id)}"
        data = self._client.ask("PUT", path, body=body, headers=actor_headers(actor))
        is_new: bool = wire.decode(data, bool)
        return is_new

    def find(
        self, query: str = "", *, as_of: datetime | None = None, limit: int | None = None
    ) -> Iterator[EnvelopeRow]:
        """See `Registry.find`."""
        if as_of is not None:
            check_time(as_of, "as_of")
        if limit is not None and limit < 0:
            raise ConfigError(f"limit is {limit}; use a number from 0, or None for all")
        parse(query)
        return self._pages(query, as_of, limit)

    def _pages(
        self, query: str, as_of: datetime | None, limit: int | None
    ) -> Iterator[EnvelopeRow]:
        left, size, cursor = limit, FIRST_PAGE, None
        while left is None or left > 0:
            wanted = size if left is None else min(size, left)
            page = self.find_page(query, as_of=as_of, cursor=cursor, limit=wanted)
            yield from page.items
            if page.next_cursor is None:
                return
            cursor, size = page.next_cursor, PAGE
            left = None if left is None else left - len(page.items)

    def metric_points(
        self,
        query: str,
        names: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        kind: MetricKind = "any",
    ) -> Iterator[MetricPoint]:
        """See `Registry.metric_points`."""
        parse(query)
        if limit is None:
            points = self._points(query, names)
        else:
            points = self._newest_points(query, names, limit)
        return points if kind == "any" else filter(_is_number, points)

    def _newest_points(
        self, query: str, names: Sequence[str] | None, limit: int
    ) -> Iterator[MetricPoint]:
        """The server's pages say nothing of envelopes without a point, so those are asked first."""
        newest = {row.id: row.created_at for row in self.find(query, limit=limit)}
        if not newest:
            return
        since = f"created_at >= '{min(newest.values()).astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
        points = self._points(f"({query}) and {since}" if query.strip() else since, names)
        yield from (point for point in points if point.envelope_id in newest)

    def _points(self, query: str, names: Sequence[str] | None) -> Iterator[MetricPoint]:
        page = self.metric_page(query, names)
        yield from page.items
        while page.next_cursor is not None:
            page = self.metric_page(query, names, cursor=page.next_cursor)
            yield from page.items

    def wait_for_change(self, after: int, timeout_s: float) -> bool:
        """See `Registry.wait_for_change`."""
        ends_at = time.monotonic() + timeout_s
        while True:
            left_s = ends_at - time.monotonic()
            asked = {"after": after, "timeout_s": max(0.0, min(left_s, WAIT_S))}
            if self._ask(OPERATIONS["wait_for_change"], asked):
                return True
            if left_s <= WAIT_S:
                return False

    def claim_lease(self, holder: str, *, host: str, pid: int, ttl_s: float) -> Lease:
        """Raise ConfigError: who leads is settled in the database."""
        raise _needs_database()

    def renew_lease(self, epoch: int, *, ttl_s: float) -> bool:
        """Raise ConfigError: who leads is settled in the database."""
        raise _needs_database()

    def resign_lease(self, epoch: int) -> bool:
        """Raise ConfigError: who leads is settled in the database."""
        raise _needs_database()

    def led_by(self, epoch: int) -> Registry:
        """Raise ConfigError: a leader's writes are fenced in the database."""
        raise _needs_database()

    def ask_gate_run(
        self,
        deployment: str,
        envelope_id: str,
        gate: str,
        *,
        spec: Mapping[str, Any],
        actor: str,
    ) -> bool:
        """Raise ConfigError: what runs on the cluster is what a controller asks for."""
        raise _needs_database()

    def gate_runs_under_way(self) -> list[GateRun]:
        """Raise ConfigError: what runs on the cluster is followed by a controller."""
        raise _needs_database()

    def record_gate_run(self, run: GateRun, state: RunState, reason: str, *, actor: str) -> bool:
        """Raise ConfigError: what runs on the cluster is followed by a controller."""
        raise _needs_database()

    def token_of(self, secret: str) -> Token | None:
        """Raise ConfigError: who asks is settled at the server."""
        raise _needs_database()

    def _ask(self, operation: Operation, values: Mapping[str, Any]) -> Any:
        path = operation.path
        for name in segments(path):
            path = path.replace(f"{{{name}}}", segment(values[name]))
        query = [
            (name, text)
            for name in operation.parameters("query")
            if values[name] is not None
            for text in wire.as_texts(values[name])
        ]
        headers = actor_headers(values["actor"]) if "actor" in values else {}
        body = _body(operation, values)
        data = self._client.ask(operation.verb, path, query=query, body=body, headers=headers)
        kind = operation.hints["return"]
        return None if kind is type(None) else wire.decode(data, kind)


def _is_number(point: MetricPoint) -> bool:
    return isinstance(point.value, float) and math.isfinite(point.value)


def _needs_database() -> ConfigError:
    return ConfigError(
        "a controller needs the registry's database, not a server in front of it; set "
        "ENVELOPE_REGISTRY to its SQLAlchemy URL where the controller runs"
    )


def _body(operation: Operation, values: Mapping[str, Any]) -> bytes | None:
    if operation.whole_body is not None:
        return wire.encode(values[operation.whole_body])
    names = operation.parameters("body")
    if not names:
        return None
    body = {name: values[name] for name in names}
    if operation.name == "log_metrics":
        body["points"] = wire.finite_points(body["points"])
    return wire.encode(body)


def _method(operation: Operation) -> Callable[..., Any]:
    def method(self: RemoteRegistry, *args: Any, **kwargs: Any) -> Any:
        bound = operation.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._ask(operation, bound.arguments)

    method.__name__ = operation.name
    method.__doc__ = getattr(Registry, operation.name).__doc__
    return method


for _operation in OPERATIONS.values():
    if _operation.name not in vars(RemoteRegistry):
        setattr(RemoteRegistry, _operation.name, _method(_operation))
