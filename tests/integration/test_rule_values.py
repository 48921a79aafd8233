"""That the values kept of a template rule's matches are those that reading again gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.making import read_values
from controller.matches import RuleMatches
from controller.values import RuleValues
from envelope.registry import Registry, RuleRow, open_registry
from tests.manifests import a_manifest

RULES = [
    RuleRow(name=name, query=query, deploy_to=template, priority=0, paused=False, version=1)
    for name, query, template in (
        ("one", "tags.ok = 'yes'", "m_{tags.a}"),
        ("two", "tags.ok = 'yes' or metrics.auc > 0.5", "{tags.b}_{tags.a}"),
        ("all", "name exists", "all_{tags.b}"),
    )
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = open_registry(f"sqlite:///{tmp_path_factory.mktemp('values') / 'registry.db'}")
    for _ in range(3):
        registry.register(a_manifest(tags={}), "c" * 64, actor="ann")
    yield registry
    registry.close()


VALUES = st.sampled_from(("x", "y", None))
CHANGES = st.lists(st.tuples(st.integers(0, 2), VALUES, VALUES, VALUES), max_size=6)


@settings(max_examples=20)
@given(changes=CHANGES)
def test_what_matches_have_is_known_after_every_change(
    shared: Registry, changes: Sequence[tuple[int, str | None, str | None, str | None]]
) -> None:
    matches = RuleMatches(shared)
    values = RuleValues(shared, matches)
    for rule in RULES:
        values(rule)
    ids = [row.id for row in shared.find()]
    for n, a, b, ok in changes:
        shared.set_tags(ids[n], {"a": a, "b": b, "ok": "yes" if ok else None}, actor="ann")
        values.is_news = False
        queries = matches.envelope_changed(ids[n])
        before = {rule.name: tags_of(values(rule)) for rule in RULES}
        values.envelope_changed(queries, lambda n=n: shared.facts(ids[n]))  # type: ignore[misc]
        for rule in RULES:
            known, now = tags_of(values(rule)), tags_of(read_values(shared, rule))
            assert set(now) <= set(known), "what is gone may still be known, never the other way"
            assert set(now) <= set(before[rule.name]) or values.is_news
    values.doubt()
    for _ in RULES:
        values.recheck()
    assert values.is_news
    for rule in RULES:
        assert tags_of(values(rule)) == tags_of(read_values(shared, rule))


def tags_of(found: object) -> list[tuple[tuple[str, str], ...]]:
    return [tuple(each.tags.items()) for each in found]  # type: ignore[attr-defined]
