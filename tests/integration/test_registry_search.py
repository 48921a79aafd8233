"""Where a search begins, and that the databases follow: no walk over everything, no sort."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Select
from sqlalchemy.dialects import postgresql

from envelope.registry import Registry, open_registry
from envelope.registry.query import parse
from envelope.registry.search import Position, Search, begin
from tests.integration.databases import PostgresServer
from tests.manifests import a_manifest

COUNT = 40
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few envelopes shall count as many."""
    monkeypatch.setattr("envelope.registry.search.PROBE", 4)
    monkeypatch.setattr("envelope.registry.search.FEW", 3)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """40 envelopes: `half` on every second, `tenth` on every tenth, `old` on the first ten only."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('search') / 'registry.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.registry_url()
    registry = open_registry(url)
    for n in range(COUNT):
        tags = {"n": str(n), "all": "yes"}
        tags |= {"half": "yes"} if n % 2 == 0 else {}
        tags |= {"tenth": "yes"} if n % 10 == 0 else {}
        tags |= {"old": "yes"} if n < 10 else {}
        manifest = a_manifest(tags=tags, hyperparameters={"n": n})
        registry.register(manifest, "c" * 64, actor="ann", created_at=START + timedelta(days=n))
        registry.log_metrics(manifest.id, {"n": n}, actor="ann")
    yield registry
    registry.close()


def search(registry: Registry, query: str) -> Search:
    with registry.database.reading() as connection:
        return begin(connection, parse(query), as_of=None)


@pytest.mark.parametrize(
    "query, tag",
    [
        pytest.param("tags.all = 'yes'", "all", id="the-only-one"),
        pytest.param("tags.all = 'yes' and tags.half = 'yes'", "half", id="rarer"),
        pytest.param("tags.half = 'yes' and (tags.all = 'yes')", "half", id="either-order"),
        pytest.param("tags.half = 'yes' and tags.tenth = 'yes'", "tenth", id="rarest"),
        pytest.param("tags.old = 'yes' and tags.half = 'yes'", "old", id="rarer-lately"),
        pytest.param("tags.all = 'yes' and tags.none = 'x'", "none", id="absent"),
        pytest.param("tags.all = 'yes' and metrics.n > 1", "all", id="metric-leaves-many"),
        pytest.param("tags.all = 'yes' and tags.n != '3'", "all", id="not-equal"),
        pytest.param("tags.all = 'yes' or tags.half = 'yes'", None, id="or"),
        pytest.param("not tags.all = 'yes'", None, id="not"),
        pytest.param("tags.all = 'yes' and metrics.n > 37", None, id="few-by-metric"),
        pytest.param("tags.half = 'yes' and hyperparameters.n in (4, 6)", None, id="few-by-fact"),
    ],
)
def test_a_search_begins_with_the_rarest_tag(filled: Registry, query: str, tag: str | None) -> None:
    found = search(filled, query)
    assert (found.tag and found.tag[0]) == tag


QUERIES = [
    ("tags.half = 'yes' and tags.all = 'yes'", range(38, -1, -2)),
    ("tags.old = 'yes' and tags.half = 'yes'", [8, 6, 4, 2, 0]),
    ("tags.all = 'yes' and metrics.n > 37", [39, 38]),
    ("tags.n in ('3', '5')", [5, 3]),
    ("tags.n = '3' or (tags.n = '5' and tags.half = 'yes') or metrics.n = 7", [7, 3]),
    ("hyperparameters.n in (4, 6, 'x') and tags.half = 'yes'", [6, 4]),
    ("metrics.n >= 0 and hyperparameters.n < 2", [1, 0]),
    ("tags.all = 'yes' and not exists tags.old and tags.tenth = 'yes'", [30, 20, 10]),
    ("created_at >= '2026-02-08' and tags.all = 'yes'", [39, 38]),
    ("tags.none = 'x' and tags.all = 'yes'", []),
]


@pytest.mark.parametrize("query, wanted", [pytest.param(*row, id=row[0]) for row in QUERIES])
def test_wherever_it_begins_it_finds_the_same(
    filled: Registry, monkeypatch: pytest.MonkeyPatch, query: str, wanted: list[int]
) -> None:
    monkeypatch.setattr("envelope.registry.envelopes.FIRST_PAGE", 2)
    monkeypatch.setattr("envelope.registry.envelopes.PAGE", 3)
    for probe, few in ((0, 0), (4, 3), (1000, 0), (1000, 1000), (0, 1000)):
        monkeypatch.setattr("envelope.registry.search.PROBE", probe)
        monkeypatch.setattr("envelope.registry.search.FEW", few)
        assert [int(row.tags["n"]) for row in filled.find(query)] == list(wanted), (probe, few)
        assert [int(row.tags["n"]) for row in filled.find(query, limit=1)] == list(wanted)[:1]


def explain(connection: Connection, statement: Select[object]) -> str:
    """The plan; on PostgreSQL the one for any values, to which it may change at the sixth call."""
    if connection.dialect.name == "sqlite":
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        return "\n".join(row[3] for row in rows)
    connection.exec_driver_sql("SET enable_seqscan = off")  # what it prefers for 40 rows
    connection.exec_driver_sql("SET enable_sort = off")
    compiled = statement.compile(
        dialect=postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy's
    )
    rows = connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {compiled}")
    plan = "\n".join(row[0] for row in rows)
    connection.exec_driver_sql("RESET ALL")
    return plan


def test_the_newest_with_three_tags_reads_the_index_in_order(filled: Registry) -> None:
    query = "tags.half = 'yes' and tags.tenth = 'yes' and tags.all = 'yes'"
    found = search(filled, query)
    with filled.database.reading() as connection:
        plan = explain(connection, found.page(None, 1))
    first, *rest = plan.split("\n")
    if filled.database.is_sqlite:
        assert first == "SEARCH first USING COVERING INDEX tags_by_value (key=? AND value=?)"
        assert not any("SCAN" in line or "TEMP B-TREE" in line for line in rest), plan
    else:
        assert "Backward using tags_by_value on tags first" in plan
        assert "SubPlan" in plan, plan  # the others are asked of each, not joined
        assert not any(word in plan for word in ("Sort", "Hash", "Seq Scan")), plan


def test_a_walk_goes_by_time_and_stops_at_the_first(filled: Registry) -> None:
    found = search(filled, "not exists tags.old")
    with filled.database.reading() as connection:
        plan = explain(connection, found.page(None, 1))
    assert "envelopes_by_time" in plan, plan
    assert "TEMP B-TREE" not in plan and "Sort" not in plan and "Hash" not in plan, plan


def test_the_next_page_begins_in_the_index(filled: Registry) -> None:
    here = Position(created_at=START + timedelta(days=20), id="01" + "Z" * 24)
    for query in ("tags.all = 'yes'", ""):
        found = search(filled, query)
        with filled.database.reading() as connection:
            plan = explain(connection, found.page(here, 5))
        assert "TEMP B-TREE" not in plan and "Sort" not in plan, plan
        if filled.database.is_sqlite:
            assert "(registered_at,envelope_id)<" in plan or "(created_at,id)<" in plan, plan
        else:
            assert "Index Cond: ((key" in plan or "Index Cond: (ROW(" in plan, plan
