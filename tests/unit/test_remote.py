"""The one description of the registry's API, and errors on their way through it."""

from __future__ import annotations

import inspect
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from envelope.errors import (
    ConfigError,
    EnvelopeError,
    Fault,
    IntegrityError,
    ModelNotFound,
    QueryError,
    SchemaError,
    StorageError,
)
from envelope.registry import MetricPage, MetricPoint, Registry, StaleRelease, StaleState
from envelope.remote import wire
from envelope.remote.folder import resource_of
from envelope.remote.operations import OPERATIONS
from envelope.remote.problems import KINDS, error_of, problem_of
from envelope.remote.registry import RemoteRegistry

OF_CONTROLLERS = {
    "claim_lease",
    "renew_lease",
    "resign_lease",
    "led_by",
    "ask_gate_run",
    "gate_runs_under_way",
    "record_gate_run",
}
SAY_NOTHING_NEW = {"beat", "record_arms"}  # of a controller; no change of anybody's
NOT_BY_A_TABLE = OF_CONTROLLERS | {
    "token_of",
    "close",
    "find",
    "metric_points",
    "register",
    "import_envelope",
}


def public_methods() -> set[str]:
    return {
        name
        for name, _ in inspect.getmembers(Registry, inspect.isfunction)
        if not name.startswith("_")
    }


def test_everything_that_a_registry_can_do_goes_through_a_server() -> None:
    assert set(OPERATIONS) | NOT_BY_A_TABLE == public_methods()
    own = {name for name in public_methods() if name in vars(RemoteRegistry)}
    assert own == public_methods()  # nothing reaches for a database


def test_a_controller_is_sent_to_the_database() -> None:
    registry = RemoteRegistry(client=None)  # type: ignore[arg-type]  # nothing is asked
    with pytest.raises(ConfigError, match="needs the registry's database"):
        registry.claim_lease("one", host="here", pid=1, ttl_s=1.0)
    with pytest.raises(ConfigError, match="needs the registry's database"):
        registry.led_by(1)
    with pytest.raises(ConfigError, match="needs the registry's database"):
        registry.gate_runs_under_way()


def test_no_two_operations_are_the_same_request() -> None:
    requests = [(operation.verb, operation.path) for operation in OPERATIONS.values()]
    assert len(set(requests)) == len(requests)


def test_what_only_reads_is_a_get_and_what_writes_names_its_actor() -> None:
    for operation in OPERATIONS.values():
        takes_actor = "actor" in operation.signature.parameters
        is_silent = operation.name in SAY_NOTHING_NEW
        assert takes_actor or is_silent == (operation.verb != "GET"), operation.name


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ModelNotFound("there is none; look elsewhere"), id="not-found"),
        pytest.param(QueryError("odd", query="tags.x =", column=9), id="query"),
        pytest.param(
            SchemaError("no", [Fault(path="rows[3].age", expected="int", got="str")]), id="schema"
        ),
        pytest.param(ConfigError("a\nb"), id="config"),
        pytest.param(IntegrityError("changed"), id="integrity"),
        pytest.param(StaleRelease("moved"), id="stale"),
        pytest.param(StaleState("changed"), id="stale-state"),
        pytest.param(StorageError("locked"), id="storage"),
        pytest.param(EnvelopeError("no"), id="refused"),
    ],
)
@pytest.mark.parametrize("is_reading", [True, False])
def test_an_error_arrives_as_the_very_same(error: EnvelopeError, is_reading: bool) -> None:
    problem = problem_of(error, is_reading=is_reading)
    sent = msgspec.json.decode(msgspec.json.encode(problem), type=type(problem))
    arrived = error_of(sent)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    for name in ("query", "column", "faults", "summary"):
        assert getattr(arrived, name, None) == getattr(error, name, None)


def test_every_error_has_a_status_and_a_name_of_its_own() -> None:
    names = [kind.name for kind in KINDS.values()]
    assert len(set(names)) == len(names)
    assert all(400 <= kind.status < 600 for kind in KINDS.values())


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf, -math.inf, {"type": "curve", "x": [1]}])
def test_values_of_metrics_travel_whole(value: Any) -> None:
    now = datetime.now(UTC)
    point = MetricPoint(envelope_id="E", name="m", value=value, at=now, logged_at=now, actor="a")
    page = MetricPage(items=[point], next_cursor=None)
    (arrived,) = wire.decode(wire.encode(page), MetricPage).items
    assert repr(arrived) == repr(point)


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        pytest.param(f"blobs/ab/ab{'0' * 62}", f"/blobs/ab{'0' * 62}", id="blob"),
        pytest.param(
            f"envelopes/{'A' * 26}/manifest.json", f"/envelopes/{'A' * 26}/manifest", id="manifest"
        ),
        pytest.param(
            f"envelopes/{'A' * 26}/functions/é.json",
            f"/envelopes/{'A' * 26}/functions/%C3%A9",
            id="function",
        ),
        pytest.param("environments/x.json", "/documents/environments/x.json", id="document"),
    ],
)
def test_every_file_of_a_store_is_a_resource(path: str, resource: str) -> None:
    assert resource_of(path) == resource
