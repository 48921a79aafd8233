"""The in-memory evaluator where it stands alone; test_registry_queries.py compares it with SQL."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from envelope.registry.query import EnvelopeFacts, matches, parse
from envelope.registry.query.paths import join_path, split_path
from envelope.registry.query.versions import version_key

FACTS = EnvelopeFacts(
    id="01" + "A" * 24,
    name="ltv",
    description="",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    created_by="ann",
    tags={"region": "US"},
    metrics={"auc": 0.9, "roc": None},
    fields={"hyperparameters.C": 1.0, "hyperparameters.layers": None, "packages.pandas": "2.10.1"},
)


@pytest.mark.parametrize(
    "query, is_match",
    [
        pytest.param("", True, id="all"),
        pytest.param("tags.absent != 'x'", False, id="absent-differs-from-nothing"),
        pytest.param("tags.absent not in ('x')", False, id="absent-not-in"),
        pytest.param("tags.absent not like 'x'", False, id="absent-not-like"),
        pytest.param("not tags.absent = 'x'", True, id="not-of-false"),
        pytest.param("hyperparameters.C = 1", True, id="number"),
        pytest.param("hyperparameters.C = '1'", False, id="number-is-no-text"),
        pytest.param("hyperparameters.C = true", False, id="number-is-no-boolean"),
        pytest.param("hyperparameters.C != '1'", False, id="other-type-does-not-differ"),
        pytest.param("hyperparameters.C like '1%'", False, id="number-like"),
        pytest.param("exists hyperparameters.layers", True, id="list-exists"),
        pytest.param("hyperparameters.layers != 1", False, id="list-compares-with-nothing"),
        pytest.param("packages.pandas > '2.9'", True, id="versions-order"),
        pytest.param("packages.pandas = '2.10.1.0'", False, id="versions-equal-as-text"),
        pytest.param("metrics.roc < 1 or metrics.roc >= 1", False, id="curve"),
        pytest.param("exists metrics.roc", True, id="curve-exists"),
    ],
)
def test_matches(query: str, is_match: bool) -> None:
    assert matches(parse(query), FACTS) is is_match


def test_patterns_take_no_time() -> None:
    """A backtracking matcher would take longer than the universe has."""
    facts = EnvelopeFacts(**{**_fields(FACTS), "tags": {"x": "a" * 5000}})
    query = parse("tags.x like '" + "%a" * 30 + "%b'")
    start = time.perf_counter()
    assert not matches(query, facts)
    assert time.perf_counter() - start < 1


def _fields(facts: EnvelopeFacts) -> dict[str, object]:
    return {name: getattr(facts, name) for name in EnvelopeFacts.__slots__}


VERSIONS = ["1.dev1", "1a1.dev1", "1a1", "1a2", "1b1", "1rc1", "1", "1+a", "1+a.b", "1+1", "1+1.a"]
VERSIONS += ["1+2", "1+10", "1.post1.dev1", "1.post1", "1.0.1", "1.1", "1.9", "1.10", "2", "1!0"]


def test_version_keys_order_as_pep_440_says() -> None:
    assert sorted(VERSIONS, key=Version) == VERSIONS
    assert sorted(VERSIONS, key=lambda version: version_key(version) or "") == VERSIONS


@st.composite
def versions(draw: st.DrawFn) -> str:
    number = st.integers(0, 12).map(str) | st.integers(0, 10**12).map(str)
    release = ".".join(draw(st.lists(number, min_size=1, max_size=4)))
    epoch = draw(st.sampled_from(["", "", "1!"]))
    pre = draw(st.sampled_from(["", "", "a", "b", "rc"]))
    pre += draw(number) if pre else ""
    post = draw(st.sampled_from(["", "", ".post"]))
    post += draw(number) if post else ""
    dev = draw(st.sampled_from(["", "", ".dev"]))
    dev += draw(number) if dev else ""
    part = number | st.text("abz09", min_size=1, max_size=3)
    local = draw(
        st.just("") | st.lists(part, min_size=1, max_size=3).map(lambda p: "+" + ".".join(p))
    )
    return f"{epoch}{release}{pre}{post}{dev}{local}"


@given(drawn=st.lists(versions(), min_size=2, max_size=6))
def test_version_keys_order_like_packaging(drawn: list[str]) -> None:
    for one, other in pairwise(drawn):
        keys = version_key(one), version_key(other)
        assert keys[0] is not None and keys[1] is not None
        assert (keys[0] < keys[1]) == (Version(one) < Version(other))
        assert (keys[0] == keys[1]) == (Version(one) == Version(other))


@pytest.mark.parametrize("text", ["", "x", "1.x", "1-2-3", "9" * 100, "latest"])
def test_what_is_no_version_has_no_key(text: str) -> None:
    assert version_key(text) is None


@given(segments=st.lists(st.text(), min_size=1, max_size=4))
def test_paths_are_split_as_they_were_joined(segments: list[str]) -> None:
    assert split_path(join_path(segments)) == tuple(segments)
