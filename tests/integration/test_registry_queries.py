"""SQLite, PostgreSQL and memory give the same answers, whatever the envelopes and the query."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envelope.manifest import Manifest, Package
from envelope.registry import Registry, open_registry
from envelope.registry.query import EnvelopeFacts, matches, parse, quote_segment
from tests.integration.databases import PostgresServer
from tests.manifests import a_manifest, an_environment

SHA = "c" * 64
LATER = datetime(2100, 1, 1, tzinfo=UTC)

# Few enough that random envelopes and random queries meet, and each one a trap.
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "a*b",
    "a?b[c]",
    "a\\b",
    "it's",
    '"quoted"',
    "1",
    "1.0",
    "true",
    "é",
    "e\u0301",
    "\uffee",  # before the next one by code point, after it by UTF-16
    "\U0001f600",
    "x\ny",
    " a",
    "z" * 500,
    "z" * 501,
    "z" * 500 + "a",
]
NUMBERS = [0.0, -0.0, 1.0, 0.1, -1.5, 1e308, 5e-324, 2.0**53]
VERSIONS = ["1.9", "1.10", "1.10.0", "2.0rc1", "2.0", "2.0.post1", "2.0+cpu", "not-a-version", "a"]
TAG_KEYS = ["k", "K", "some key", 'a"b', "a.b", "and", "é"]
FIELDS = ["x", "y", "a.b", "and"]
METRICS = ["auc", "roc", "a b"]
PACKAGES = ["pandas", "scikit-learn"]
TIMES = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in (0, 1, 2)]

texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS)
scalars = texts | numbers | st.booleans() | st.sampled_from([3, 2**53 + 1, 10**400])
json_values = scalars | st.none() | st.lists(scalars, max_size=2) | st.just({"in": "side"})


@st.composite
def envelopes(draw: st.DrawFn) -> tuple[Manifest, datetime, dict[str, Any], list[bool]]:
    """A manifest, when it is registered, its metrics and its proofs."""
    versions = draw(st.dictionaries(st.sampled_from(PACKAGES), st.sampled_from(VERSIONS)))
    manifest = a_manifest(
        name=draw(texts),
        description=draw(texts),
        created_by=draw(texts),
        tags=draw(st.dictionaries(st.sampled_from(TAG_KEYS), texts)),
        hyperparameters=draw(st.dictionaries(st.sampled_from(FIELDS), json_values)),
        environment=an_environment(
            python=draw(st.sampled_from(["3.9.18", "3.11.7", "3.13.0rc1"])),
            packages=tuple(Package(name=n, version=v) for n, v in sorted(versions.items())),
        ),
    )
    value = numbers | st.sampled_from([float("nan"), float("inf")]) | st.just({"type": "curve"})
    metrics = draw(st.dictionaries(st.sampled_from(METRICS), value))
    return (
        manifest,
        draw(st.sampled_from(TIMES)),
        metrics,
        draw(st.lists(st.booleans(), max_size=2)),
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(value: float) -> str:
    return repr(value)


def _comparisons(key: str, literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
    many = st.lists(literals, min_size=1, max_size=3).map(", ".join)
    return st.one_of(
        st.builds(lambda o, v: f"{key} {o} {v}", operators, literals),
        st.builds(lambda n, v: f"{key} {n}in ({v})", st.sampled_from(["", "not "]), many),
        st.just(f"exists {key}"),
    )


pieces = [
    *string.ascii_lowercase[:2],
    "A",
    "%",
    "_",
    "*",
    "?",
    "[",
    "\\\\",
    "\\%",
    "\\_",
    "é",
    "z" * 500,
]
patterns = st.lists(st.sampled_from(pieces), max_size=4).map("".join) | texts.map(
    lambda text: text.replace("\\", "\\\\")
)


def _likes(key: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda n, p: f"{key} {n}like {quoted(p)}", st.sampled_from(["", "not "]), patterns
    )


def _comparable(key: str) -> st.SearchStrategy[str]:
    """Facts may be compared with any literal; booleans have no order."""
    literals = texts.map(quoted) | numbers.map(_number)
    truth = st.sampled_from(["true", "false"])
    equal = st.builds(lambda o, v: f"{key} {o} {v}", st.sampled_from(["=", "!="]), truth)
    mixed = st.lists(literals | truth, min_size=1, max_size=3).map(", ".join)
    lists = st.builds(lambda n, v: f"{key} {n}in ({v})", st.sampled_from(["", "not "]), mixed)
    return _comparisons(key, literals) | equal | lists | _likes(key)


def _each(names: list[str], make: Any) -> st.SearchStrategy[str]:
    return st.sampled_from(names).flatmap(make)


tag_keys = [f"tags.{quote_segment(key)}" for key in TAG_KEYS]
field_keys = [f"hyperparameters.{quote_segment(f)}" for f in FIELDS] + [
    "hyperparameters.x.0",
    "hyperparameters.y.in",
    "context.git.is_dirty",
    "format_version",
    "artifact.blobs.0.size_bytes",
    "default_function",
]
version_keys = [f"packages.{name}" for name in PACKAGES] + ["python_version"]
strings = texts.map(quoted)
proper = st.sampled_from(
    [v for v in VERSIONS if v not in ("not-a-version", "a")] + ["3.10", "3.13"]
)

leaves = st.one_of(
    _each(tag_keys, lambda key: _comparisons(key, strings) | _likes(key)),
    _each(
        [f"metrics.{quote_segment(name)}" for name in METRICS],
        lambda key: _comparisons(key, numbers.map(_number)),
    ),
    _each(field_keys, _comparable),
    _each(version_keys, lambda key: _comparisons(key, proper.map(quoted)) | _likes(key)),
    _each(
        ["name", "description", "created_by"], lambda key: _comparisons(key, strings) | _likes(key)
    ),
    _each(["functions.predict", "functions.other"], lambda key: _comparisons(key, strings)),
    _comparisons("created_at", st.sampled_from([quoted(time.isoformat()) for time in TIMES])),
    st.sampled_from(
        ["proved = true", "proved != true", "proved in (false)", "proved not in (false)"]
    ),
)
queries = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda q: f"not ({q})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda q: "(" + ") and (".join(q) + ")"),
        st.lists(inner, min_size=2, max_size=3).map(lambda q: "(" + ") or (".join(q) + ")"),
    ),
    max_leaves=6,
)


@pytest.fixture(autouse=True, scope="module")
def every_beginning() -> Iterator[None]:
    """With these limits some searches begin with a tag, some with a short list, some walk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envelope.registry.search.PROBE", 8)
        patch.setattr("envelope.registry.search.FEW", 12)
        yield


@pytest.fixture(scope="module")
def both(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Registry, Registry]]:
    """One registry on each database, into which every example puts the same envelopes."""
    path: Path = tmp_path_factory.mktemp("queries") / "registry.db"
    registries = open_registry(f"sqlite:///{path}"), open_registry(postgres_server.registry_url())
    yield registries
    for registry in registries:
        registry.close()


def fill(registry: Registry, drawn: list[Any]) -> list[str]:
    for manifest, created_at, metrics, proofs in drawn:
        registry.register(manifest, SHA, actor="ann", created_at=created_at)
        if metrics:
            registry.log_metrics(manifest.id, metrics, actor="ann")
            past = dict.fromkeys(metrics, 0.1)  # logged later, about an earlier time
            registry.log_metrics(manifest.id, past, actor="ann", at=TIMES[0])
        for ok in proofs:
            registry.add_proof(manifest.id, platform="linux", ok=ok, actor="ann")
    return [manifest.id for manifest, *_ in drawn]


def in_memory(query: str, facts: list[EnvelopeFacts]) -> list[str]:
    found = [each for each in facts if matches(parse(query), each)]
    found.sort(key=lambda each: (each.created_at, each.id), reverse=True)
    return [each.id for each in found]


def in_sql(registry: Registry, query: str, **options: Any) -> list[str]:
    return [row.id for row in registry.find(query, **options)]


# --- every comparison with every value, of envelopes that hold every value


ZOO_SIZE = 3 * len(TEXTS)


def zoo() -> list[tuple[Manifest, datetime, dict[str, Any], list[bool]]]:
    """Envelopes that together hold each value at each kind of key."""
    values: list[Any] = [*TEXTS, *NUMBERS, True, False, 3, 10**400, 2**53 + 1, None, [1], {}]
    found = []
    for n in range(ZOO_SIZE):
        text, value = TEXTS[n % len(TEXTS)], values[n % len(values)]
        manifest = a_manifest(
            name=text,
            description=TEXTS[-n % len(TEXTS)],
            tags={"k": text, "some key": TEXTS[n % 5]} if n % 4 else {},
            hyperparameters={"x": value, "a.b": values[-n % len(values)]} if n % 5 else {},
            environment=an_environment(
                python=["3.9.18", "3.11.7", "3.13.0rc1"][n % 3],
                packages=(Package(name="pandas", version=VERSIONS[n % len(VERSIONS)]),)
                * (n % 7 > 0),
            ),
        )
        metrics = {"auc": NUMBERS[n % len(NUMBERS)]} if n % 3 else {"auc": float("nan")}
        found.append(
            (manifest, TIMES[n % 3], metrics if n % 5 else {}, [n % 2 > 0, n % 3 > 0][: n % 4])
        )
    return found


@pytest.fixture(scope="module")
def animals(both: tuple[Registry, Registry]) -> list[EnvelopeFacts]:
    """The facts of the zoo, which both registries hold; the same in both."""
    drawn = zoo()
    known = [[registry.facts(each) for each in fill(registry, drawn)] for registry in both]
    assert known[0] == known[1]
    return known[0]


def every_comparison() -> Iterator[str]:
    operators = ("=", "!=", "<", "<=", ">", ">=", "in", "not in")
    texts, numbers = map(quoted, TEXTS), map(repr, NUMBERS)
    literals: dict[str, list[str]] = {
        "name": [*texts],
        "metrics.auc": [*numbers],
        "packages.pandas": [quoted(each) for each in VERSIONS[:-2]],
        "python_version": ["'3.10'", "'3.11.7'", "'3.13'"],
        "created_at": [quoted(time.isoformat()) for time in TIMES],
    }
    literals["tags.k"] = literals["name"]
    literals["hyperparameters.x"] = literals["name"] + literals["metrics.auc"]
    literals['hyperparameters."a.b"'] = literals["hyperparameters.x"]
    for key, values in literals.items():
        yield f"exists {key}"
        for operator, value in itertools.product(operators, values):
            yield f"{key} {operator} ({value})" if "in" in operator else f"{key} {operator} {value}"
    for truth, operator in itertools.product(("true", "false"), ("=", "!=")):
        yield f"hyperparameters.x {operator} {truth}"
        yield f"proved {operator} {truth}"


def every_pattern() -> Iterator[str]:
    wildcards = ["", "%", "_", "%_", "a%", "%a", "_%b", "%%", "z%a", "%[c]", "a\\%b", "a\\_b", "A%"]
    exact = [text.replace("\\", "\\\\") for text in TEXTS]
    for key in ("tags.k", "name", "hyperparameters.x", "packages.pandas"):
        for pattern in [*wildcards, *exact]:
            yield f"{key} like {quoted(pattern)}"
            yield f"{key} not like {quoted(pattern)}"


@pytest.mark.parametrize("make", [every_comparison, every_pattern])
def test_every_comparison_means_the_same(
    both: tuple[Registry, Registry], animals: list[EnvelopeFacts], make: Any
) -> None:
    these = f"id in ({', '.join(quoted(each.id) for each in animals)})"
    for query in make():
        wanted = in_memory(query, animals)
        for registry in both:
            assert in_sql(registry, f"{query} and {these}") == wanted, (
                registry.database.name,
                query,
            )


# --- random queries


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(query=queries)
def test_random_queries_of_the_zoo(
    both: tuple[Registry, Registry], animals: list[EnvelopeFacts], query: str
) -> None:
    these = f"id in ({', '.join(quoted(each.id) for each in animals)})"
    wanted = in_memory(query, animals)
    for registry in both:
        here = f"({query}) and {these}"
        assert in_sql(registry, here) == wanted, registry.database.name
        assert in_sql(registry, here, limit=3) == wanted[:3], registry.database.name
        assert in_sql(registry, here, as_of=LATER) == wanted, registry.database.name


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(drawn=st.lists(envelopes(), min_size=1, max_size=3), query=queries)
def test_random_envelopes_and_queries(
    both: tuple[Registry, Registry], drawn: list[Any], query: str
) -> None:
    for registry in both:
        among = fill(registry, drawn)
        these = f"id in ({', '.join(map(quoted, among))})"
        wanted = in_memory(query, [registry.facts(each) for each in among])
        here = f"({query}) and {these}"
        assert in_sql(registry, here) == wanted, registry.database.name
        assert in_sql(registry, here, as_of=LATER) == wanted, registry.database.name


TABLE = [
    # query, which of the envelopes of `some` match
    ("", "abc"),
    ("tags.region = 'US'", "a"),
    ("tags.region != 'US'", "b"),  # c has no region, so it compares with nothing
    ("tags.region not in ('US')", "b"),
    ("not tags.region = 'US'", "bc"),  # not turns the false into true
    ("tags.region in ('US', 'EU')", "ab"),
    ("exists tags.region", "ab"),
    ("not exists tags.region", "c"),
    ("tags.region like 'U%'", "a"),
    ("tags.region like 'u%'", ""),  # case-sensitive
    ("tags.region like '_S'", "a"),
    ("tags.region not like 'U%'", "b"),
    ("tags.rate like '50\\%'", "a"),
    ("tags.rate like '50_'", "ab"),
    ("tags.\"odd key's\" = 'it''s'", "c"),
    ("tags.region < 'F'", "b"),
    ("hyperparameters.C = 1", "a"),
    ("hyperparameters.C = '1'", "b"),
    ("hyperparameters.C != 1", ""),  # b's is text: another type is false, != too
    ("hyperparameters.C = true", "c"),
    ("hyperparameters.C in (1, '1')", "ab"),
    ("hyperparameters.C not in (2, '2')", "ab"),
    ("packages.pandas >= '2.9'", "a"),  # 2.10.1 is newer than 2.9, as text it were not
    ("packages.Pandas < '2.9'", "b"),
    ("packages.pandas like '2.%'", "ab"),
    ("python_version >= '3.10' and python_version < '3.12'", "ac"),
    ("environment.python = '3.9.18'", "b"),
    ("context.git.commit = 'abc123' and not context.git.is_dirty = true", "abc"),
    ("metrics.auc > 0.8", "a"),
    ("metrics.auc <= 0.8", "b"),
    ("created_at >= '2026-01-02'", "bc"),
    ("created_at < '2026-01-02T01:00:00+01:00'", "a"),
    ("name = 'b' or created_by = 'c' or description like 'a%'", "abc"),
    ("functions.predict like 'b%' and default_function = 'predict' and format_version = 1", "abc"),
    ("tags.region = 'US' or tags.region = 'EU' and metrics.auc > 0.8", "a"),  # and binds tighter
    ("(tags.region = 'US' or tags.region = 'EU') and metrics.auc <= 0.8", "b"),
    ("NOT tags.region = 'US' AND tags.region EXISTS", "b"),
]


@pytest.fixture(scope="module")
def some(both: tuple[Registry, Registry]) -> dict[str, str]:
    """Letter -> id of three envelopes, in both registries."""
    packages = (Package(name="pandas", version="2.8.0"),)
    manifests = {
        "a": a_manifest(
            name="a",
            description="about a",
            tags={"region": "US", "rate": "50%"},
            hyperparameters={"C": 1},
        ),
        "b": a_manifest(
            name="b",
            tags={"region": "EU", "rate": "500"},
            hyperparameters={"C": "1"},
            environment=an_environment(python="3.9.18", packages=packages),
        ),
        "c": a_manifest(
            name="c",
            created_by="c",
            tags={"odd key's": "it's"},
            hyperparameters={"C": True},
            environment=an_environment(packages=()),
        ),
    }
    for registry in both:
        for day, manifest in enumerate(manifests.values(), start=1):
            at = datetime(2026, 1, day, tzinfo=UTC)
            registry.register(manifest, SHA, actor="ann", created_at=at)
        registry.log_metrics(manifests["a"].id, {"auc": 0.9}, actor="ann")
        registry.log_metrics(manifests["b"].id, {"auc": 0.8}, actor="ann")
    return {letter: manifest.id for letter, manifest in manifests.items()}


@pytest.mark.parametrize(
    "query, letters", [pytest.param(*row, id=row[0] or "all") for row in TABLE]
)
def test_what_matches(
    both: tuple[Registry, Registry], some: dict[str, str], query: str, letters: str
) -> None:
    wanted = [some[letter] for letter in reversed(letters)]
    these = f"id in ({', '.join(map(quoted, some.values()))})"
    for registry in both:
        here = f"({query}) and {these}" if query else these
        assert in_sql(registry, here) == wanted, registry.database.name
        assert in_sql(registry, here, as_of=LATER) == wanted, registry.database.name
        assert in_memory(query, [registry.facts(each) for each in some.values()]) == wanted
