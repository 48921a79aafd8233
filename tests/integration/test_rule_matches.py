"""Which rules a change may concern, and that asking only those gives what asking all would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.matches import PAGE, QueryIndex, RuleMatches, wanted_tags
from envelope.registry import Registry, RuleRow, open_registry, parse
from tests.manifests import a_manifest

SHA = "c" * 64
QUERIES = (
    "tags.a = 'x'",
    "tags.a = 'x' and tags.b = 'y'",
    "tags.b = 'y' and metrics.auc > 0.5",
    "tags.a = 'x' or tags.b = 'y'",
    "tags.a in ('x', 'y')",
    "not tags.a = 'x'",
    "metrics.auc > 0.5",
    "",
)


@pytest.mark.parametrize(
    "text, tags",
    [
        pytest.param("tags.a = 'x'", [("a", "x")], id="one"),
        pytest.param(
            "proved = true and (tags.a = 'x' and tags.b = 'y')", [("a", "x"), ("b", "y")], id="and"
        ),
        pytest.param("tags.a = 'x' or tags.b = 'y'", [], id="or"),
        pytest.param("not (tags.a = 'x' and tags.b = 'y')", [], id="not"),
        pytest.param("tags.a != 'x'", [], id="unequal"),
        pytest.param("", [], id="everything"),
    ],
)
def test_the_tags_without_which_nothing_matches(text: str, tags: list[tuple[str, str]]) -> None:
    assert list(wanted_tags(parse(text).root)) == tags


def test_of_several_tags_the_rarest_is_looked_for(registry: Registry) -> None:
    index = QueryIndex()
    queries = [f"tags.all = 'yes' and tags.region = '{n}'" for n in range(50)]
    for text in ["tags.all = 'yes'", *queries]:
        index.add(text, parse(text))
    manifest = a_manifest(tags={"all": "yes", "region": "7"})
    registry.register(manifest, SHA, actor="ann")
    facts = registry.facts(manifest.id)
    assert sorted(index.concerned(facts)) == ["tags.all = 'yes'", queries[7]]
    index.drop(queries[7])
    assert list(index.concerned(facts)) == ["tags.all = 'yes'"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = open_registry(f"sqlite:///{tmp_path / 'registry.db'}")
    yield registry
    registry.close()


def a_rule(query: str) -> RuleRow:
    return RuleRow(
        name=query or "all", query=query, deploy_to="ltv", priority=0, paused=False, version=1
    )


def known(matches: RuleMatches, query: str) -> list[str]:
    return [each.envelope_id for each in matches.newest_first(a_rule(query))]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = open_registry(f"sqlite:///{tmp_path_factory.mktemp('matches') / 'registry.db'}")
    for _ in range(3):
        registry.register(a_manifest(tags={}), SHA, actor="ann")
    yield registry
    registry.close()


VALUES = st.sampled_from(("x", "y", None))
CHANGES = st.lists(
    st.tuples(st.integers(0, 2), VALUES, VALUES, st.sampled_from((None, 0.2, 0.9))), max_size=8
)


@given(changes=CHANGES)
def test_what_is_kept_is_what_reading_again_gives(
    shared: Registry, changes: Sequence[tuple[int, str | None, str | None, float | None]]
) -> None:
    matches = RuleMatches(shared)
    for query in QUERIES:
        known(matches, query)
    ids = [row.id for row in shared.find()]
    for n, a, b, auc in changes:
        shared.set_tags(ids[n], {"a": a, "b": b}, actor="ann")
        if auc is not None:
            shared.log_metrics(ids[n], {"auc": auc}, actor="ann")
        before = {query: known(matches, query) for query in QUERIES}
        concerned = matches.envelope_changed(ids[n])
        for query in QUERIES:
            found = [row.id for row in shared.find(query)]
            assert known(matches, query) == found
            assert found == before[query] or query in concerned


def test_what_no_change_told_of_is_found_by_reading_again(registry: Registry) -> None:
    matches, query = RuleMatches(registry), "tags.a = 'x'"
    one = registry.register(a_manifest(tags={"a": "x"}), SHA, actor="ann").id
    assert known(matches, query) == [one]
    two = registry.register(a_manifest(tags={"a": "x"}), SHA, actor="ann").id
    matches.doubt()
    assert known(matches, query) == [one], "until it is read again"
    assert matches.recheck(20) == {query}
    assert known(matches, query) == [two, one]
    matches.doubt()
    assert matches.recheck(20) == set()


def test_many_new_matches_push_the_oldest_out(registry: Registry) -> None:
    matches, query = RuleMatches(registry), "tags.a = 'x'"
    assert known(matches, query) == []
    ids = []
    for _ in range(5 * PAGE):
        ids.append(registry.register(a_manifest(tags={"a": "x"}), SHA, actor="ann").id)
        matches.envelope_changed(ids[-1])
    assert len(matches._newest[query].rows) == 4 * PAGE
    assert known(matches, query) == ids[::-1], "and are read when they are asked for"
