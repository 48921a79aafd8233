"""Values of many envelopes in bulk, on each kind of registry: SQLite, PostgreSQL, a server."""

from __future__ import annotations

import pytest

import envelope as me
from envelope.connection import connect
from envelope.errors import ConfigError, QueryError
from envelope.registry.fields import iterate_fields

pytestmark = pytest.mark.usefixtures("by_value", "place")

FIELDS = [
    "metrics.auc",
    "hyperparameters.C",
    "hyperparameters.kernel",
    "tags.n",
    "packages.cloudpickle",
    "functions.double",
    "name",
    "created_at",
]


def double(x: float) -> float:
    return 2 * x


def save(number: int) -> me.Envelope:
    saved = me.save_model(
        name=f"m{number}",
        query_function=double,
        api_input=1.0,
        tags={"n": str(number)},
        hyperparameters={"C": number / 10, "kernel": "rbf"} if number else {},
    )
    saved.log_metrics(auc=0.0)
    saved.log_metrics(auc=number / 2)
    return saved


def test_fields_of_many_envelopes(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = [save(number) for number in range(3)]
    saved[2].log_metrics(auc=float("nan"))
    registry = connect().registry
    page = registry.field_page("", FIELDS)
    assert [row.envelope_id for row in page.items] == [one.id for one in reversed(saved)]
    assert page.next_cursor is None
    found = [[row.values[field] for field in FIELDS[:4]] for row in page.items]
    assert found == [[None, 0.2, "rbf", "2"], [0.5, 0.1, "rbf", "1"], [0.0, None, None, "0"]]
    newest, latest = page.items[0], saved[2].manifest
    versions = {one.name: one.version for one in latest.environment.packages}
    assert newest.values["packages.cloudpickle"] == versions.get("cloudpickle")
    assert newest.values["functions.double"] == latest.functions["double"]
    assert newest.values["created_at"] == newest.created_at.isoformat()
    assert (newest.name, newest.created_at) == ("m2", saved[2].created_at)

    monkeypatch.setattr("envelope.registry.fields.PAGE", 2)  # the server's stays
    for limit, numbers in [(0, []), (1, ["2"]), (2, ["2", "1"]), (9, ["2", "1", "0"])]:
        rows = list(iterate_fields(registry, "", ["tags.n"], limit=limit))
        assert [row.values["tags.n"] for row in rows] == numbers
    rows = list(iterate_fields(registry, "metrics.auc > 0.1", ["tags.n"], limit=9))
    assert [row.values for row in rows] == [{"tags.n": "1"}]


def test_what_is_no_field_is_refused() -> None:
    registry = connect().registry
    with pytest.raises(
        ConfigError, match=r"the field 'metric\.x' is no key of a query: there is no"
    ):
        registry.field_page("", ["metric.x"])
    with pytest.raises(QueryError):
        registry.field_page("tags.x =", [])
