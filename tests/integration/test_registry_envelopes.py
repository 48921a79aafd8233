"""Envelopes, tags, metrics and proofs on both databases."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from envelope.errors import ConfigError, EnvelopeError, ModelNotFound, QueryError
from envelope.registry import Registry
from tests.manifests import a_manifest

SHA = "c" * 64
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def save(registry: Registry, **changes: object) -> str:
    return registry.register(a_manifest(**changes), SHA, actor="ann").id


def ids(registry: Registry, query: str = "", **options: object) -> list[str]:
    return [row.id for row in registry.find(query, **options)]  # type: ignore[arg-type]


def test_register_returns_the_row_by_the_registrys_clock(registry: Registry) -> None:
    manifest = a_manifest()
    row = registry.register(manifest, SHA, actor="ann")
    assert (row.id, row.name, row.created_by) == (manifest.id, "client_ltv_model", "ann@laptop")
    assert row.functions == {"predict": "b" * 64}
    assert row.tags == {"canonical_name": "client_ltv", "region": "US"}
    assert row.python_version == "3.11.7"
    assert abs(row.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    assert row.created_at.utcoffset() == timedelta(0)
    assert registry.envelope(manifest.id) == row


def test_register_again_changes_nothing(registry: Registry) -> None:
    manifest = a_manifest()
    row = registry.register(manifest, SHA, actor="ann")
    last = registry.last_change()
    assert registry.register(manifest, SHA, actor="bob") == row
    assert registry.last_change() == last
    with pytest.raises(EnvelopeError, match="registered with another manifest"):
        registry.register(manifest, "d" * 64, actor="ann")


def test_a_given_time_is_kept_to_the_microsecond(registry: Registry) -> None:
    then = datetime(2021, 5, 6, 7, 8, 9, 123457, tzinfo=UTC)
    row = registry.register(a_manifest(), SHA, actor="ann", created_at=then)
    assert row.created_at == then
    with pytest.raises(ConfigError, match="has no time zone"):
        registry.register(a_manifest(), SHA, actor="ann", created_at=datetime(2021, 5, 6))


def test_newest_first_then_id(registry: Registry) -> None:
    manifests = sorted((a_manifest() for _ in range(6)), key=lambda manifest: manifest.id)
    times = [LONG_AGO + timedelta(days=days) for days in (1, 3, 3, 3, 2, 2)]
    for manifest, time in zip(manifests, times, strict=True):
        registry.register(manifest, SHA, actor="ann", created_at=time)
    order = [manifests[n].id for n in (3, 2, 1, 5, 4, 0)]
    assert ids(registry) == order
    assert ids(registry, limit=2) == order[:2]
    assert ids(registry, limit=0) == []


def test_pages_join_without_gap_or_repeat(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envelope.registry.envelopes.FIRST_PAGE", 2)
    monkeypatch.setattr("envelope.registry.envelopes.PAGE", 3)
    for _ in range(3):
        for _ in range(4):  # four of each time, so that pages end between equal times
            time = LONG_AGO + timedelta(days=registry.last_change() // 16)
            registry.register(a_manifest(), SHA, actor="ann", created_at=time)
    found = ids(registry)
    assert len(found) == len(set(found)) == 12
    rows = list(registry.find())
    assert rows == sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    assert ids(registry, limit=7) == found[:7]


def test_a_prefix_finds_one_and_names_several(registry: Registry) -> None:
    first = save(registry, id="01" + "A" * 24)
    save(registry, id="01" + "B" * 24)
    assert registry.envelope("01a").id == first
    with pytest.raises(ModelNotFound, match=rf"several envelopes begin with 01: {first}, 01BBB"):
        registry.envelope("01")
    for absent in ("01C", "", "no such id", "%"):
        with pytest.raises(ModelNotFound, match="there is no envelope"):
            registry.envelope(absent)


def test_a_query_error_comes_before_the_first_page(registry: Registry) -> None:
    with pytest.raises(QueryError, match=r"did you mean tags\?"):
        registry.find("tag.region = 'US'")
    with pytest.raises(ConfigError, match="as_of"):
        registry.find("", as_of=datetime(2026, 1, 1))
    with pytest.raises(ConfigError, match="limit is -1"):
        registry.find("", limit=-1)


def test_tags_change_and_every_change_is_kept(registry: Registry) -> None:
    one = save(registry)
    registry.set_tags(one, {"region": "EU", "passes_tests": "true"}, actor="bob")
    registry.set_tags(one, {"passes_tests": None}, actor="cat")
    assert registry.envelope(one).tags == {"canonical_name": "client_ltv", "region": "EU"}
    changes = [(c.key, c.old, c.new, c.actor) for c in registry.tag_history(one)]
    assert changes == [
        ("canonical_name", None, "client_ltv", "ann"),
        ("region", None, "US", "ann"),
        ("region", "US", "EU", "bob"),
        ("passes_tests", None, "true", "bob"),
        ("passes_tests", "true", None, "cat"),
    ]


def test_a_tag_that_is_so_already_leaves_no_trace(registry: Registry) -> None:
    one = save(registry)
    before = registry.last_change(), registry.tag_history(one)
    registry.set_tags(one, {"region": "US", "never": None}, actor="bob")
    assert (registry.last_change(), registry.tag_history(one)) == before


@pytest.mark.parametrize(
    "tags, message",
    [
        pytest.param({"region": 3}, "the value of tag 'region' is int 3, not a string", id="int"),
        pytest.param({3: "x"}, "the tag key 3 is int 3, not a string", id="int-key"),
        pytest.param({"": "x"}, "is empty", id="empty-key"),
        pytest.param({"a": "x\0y"}, "holds a NUL character at position 2", id="nul"),
        pytest.param({"a": "\ud800"}, r"half a surrogate pair \(U\+D800\)", id="surrogate"),
        pytest.param({"\0": "x"}, "NUL", id="nul-key"),
        pytest.param({"a": "x" * 2001}, "2001 bytes long, the limit is 2000", id="long"),
        pytest.param({"é" * 126: "x"}, "252 bytes long, the limit is 250", id="long-key"),
    ],
)
def test_a_tag_that_cannot_be_stored_changes_nothing(
    registry: Registry, tags: dict[str, str], message: str
) -> None:
    one = save(registry)
    with pytest.raises(ConfigError, match=message):
        registry.set_tags(one, {"region": "EU", **tags}, actor="bob")
    assert registry.envelope(one).tags["region"] == "US"
    with pytest.raises(ConfigError, match=message):
        save(registry, tags=tags)


def incompressible(count: int) -> str:
    """Characters of four bytes each, which PostgreSQL cannot make shorter."""
    return "".join(random.Random(7).choices([chr(n) for n in range(0x1F300, 0x1F9FF)], k=count))


def test_the_longest_tag_fits_the_index(registry: Registry) -> None:
    key, value = incompressible(62), incompressible(500)
    one = save(registry, tags={key: value})
    assert ids(registry, f"tags.\"{key}\" = '{value}'") == [one]


def test_long_facts_fit_the_index_and_compare_whole(registry: Registry) -> None:
    key, value = incompressible(115), incompressible(900)
    one = save(registry, hyperparameters={key: value}, name=incompressible(500))
    path = f'hyperparameters."{key}"'
    assert ids(registry, f"{path} = '{value}'") == [one]
    assert ids(registry, f"{path} = '{value[:500]}' or {path} = '{value[:-1]}'") == []
    assert ids(registry, f"{path} like '%{value[-9:]}'") == [one]


def test_unknown_envelopes_are_named(registry: Registry) -> None:
    absent = "01" + "Z" * 24
    for call in (
        lambda: registry.set_tags(absent, {"a": "b"}, actor="ann"),
        lambda: registry.log_metrics(absent, {"a": 1}, actor="ann"),
        lambda: registry.add_function(absent, "f", SHA, actor="ann"),
        lambda: registry.facts(absent),
        lambda: registry.request_deploy("ltv", absent, actor="ann"),
    ):
        with pytest.raises(ModelNotFound, match=absent):
            call()
    assert registry.last_change() == 0


def test_functions_are_added_and_never_altered(registry: Registry) -> None:
    one = save(registry)
    registry.add_function(one, "predict_proba", "e" * 64, actor="bob")
    row = registry.envelope(one)
    assert row.functions == {"predict": "b" * 64, "predict_proba": "e" * 64}
    assert row.manifest_sha256 == SHA
    assert ids(registry, "exists functions.predict_proba") == [one]
    with pytest.raises(EnvelopeError, match="has a function 'predict' already"):
        registry.add_function(one, "predict", "f" * 64, actor="bob")


def test_metrics_keep_every_point_and_compare_by_the_latest(registry: Registry) -> None:
    one = save(registry)
    registry.log_metrics(one, {"auc": 0.5, "roc": {"type": "curve", "x": [0, 1]}}, actor="bob")
    registry.log_metrics(one, {"auc": 0.9}, actor="bob")
    registry.log_metrics(one, {"auc": 0.1}, actor="bob", at=LONG_AGO)  # about the past: not latest
    points = [(point.name, point.value) for point in registry.metrics(one)]
    assert points == [
        ("auc", 0.1),
        ("auc", 0.5),
        ("auc", 0.9),
        ("roc", {"type": "curve", "x": [0, 1]}),
    ]
    assert registry.metrics(one)[0].at == LONG_AGO
    assert ids(registry, "metrics.auc = 0.9") == [one]
    assert ids(registry, "metrics.roc > 0 or metrics.roc <= 0 or metrics.roc != 7") == []
    assert ids(registry, "exists metrics.roc") == [one]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(math.nan, id="nan"),
        pytest.param(math.inf, id="inf"),
        pytest.param(-math.inf, id="-inf"),
        pytest.param(10**400, id="huge"),
    ],
)
def test_what_is_not_finite_is_kept_and_never_compares(registry: Registry, value: float) -> None:
    one = save(registry)
    registry.log_metrics(one, {"loss": 1}, actor="bob")
    registry.log_metrics(one, {"loss": value}, actor="bob")
    last = registry.metrics(one)[-1].value
    assert math.isnan(last) if value != value else last in (math.inf, -math.inf)
    assert ids(registry, "metrics.loss > 0 or metrics.loss <= 0") == []


def test_metric_names_and_times_are_checked(registry: Registry) -> None:
    one = save(registry)
    with pytest.raises(ConfigError, match="the metric name 'a\\\\x00' holds a NUL"):
        registry.log_metrics(one, {"a\0": 1}, actor="bob")
    with pytest.raises(ConfigError, match=r"the time of a metric, .* has no time zone"):
        registry.log_metrics(one, {"a": 1}, actor="bob", at=datetime(2026, 1, 1))
    assert registry.metrics(one) == []


def test_metric_points_in_bulk(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope.registry.metrics.PAGE", 2)
    saved = [save(registry, tags={"n": str(n)}) for n in range(5)]
    for n, one in enumerate(saved):
        registry.log_metrics(one, {"auc": n, "f1": 0}, actor="bob")
        registry.log_metrics(one, {"auc": n + 0.5}, actor="bob")
    points = list(registry.metric_points("tags.n != '1'", ["auc"]))
    assert [point.value for point in points] == [4, 4.5, 3, 3.5, 2, 2.5, 0, 0.5]
    assert len(list(registry.metric_points("", None))) == 15
    assert list(registry.metric_points("", [])) == []
    registry.log_metrics(saved[0], {"auc": {"type": "text", "text": "x"}}, actor="bob")
    assert registry.metrics(saved[0])[2].value == {"type": "text", "text": "x"}
    points = list(registry.metric_points("tags.n = '0'", ["auc"], kind="number"))
    assert [point.value for point in points] == [0, 0.5]
    registry.log_metrics(save(registry), {"f1": 1}, actor="bob")  # the newest has no auc
    for limit, values in [(0, []), (1, []), (3, [4, 4.5, 3, 3.5]), (99, None)]:
        points = list(registry.metric_points("", ["auc"], limit=limit))
        found = [point.value for point in points]
        assert found == values if values is not None else len(found) == 11, limit


def test_proved_is_the_last_proof_of_some_platform(registry: Registry) -> None:
    one, other = save(registry), save(registry)
    registry.add_proof(one, platform="linux", ok=True, actor="prover")
    registry.add_proof(other, platform="linux", ok=True, actor="prover")
    registry.add_proof(other, platform="linux", ok=False, actor="prover", detail="pandas is gone")
    assert ids(registry, "proved = true") == [one]
    assert ids(registry, "proved != true") == ids(registry, "proved = false") == [other]
    assert registry.facts(one).is_proved and not registry.facts(other).is_proved
    registry.add_proof(other, platform="macos", ok=True, actor="prover")
    assert ids(registry, "proved = true") == [other, one]
    assert [(p.ok, p.detail) for p in registry.proofs(other)][1] == (False, "pandas is gone")


def test_facts_are_the_manifests_scalars(registry: Registry) -> None:
    one = save(registry)
    facts = registry.facts(one)
    assert facts.fields["hyperparameters.C"] == 0.1
    assert facts.fields["hyperparameters.layers.1"] == 32.0
    assert facts.fields["hyperparameters.layers"] is None
    assert "hyperparameters.none" not in facts.fields
    assert facts.fields["context.git.is_dirty"] is False
    assert facts.fields["packages.scikit-learn"] == "1.9.0"
    assert facts.fields["environment.python"] == "3.11.7"
    assert facts.tags == {"canonical_name": "client_ltv", "region": "US"}
    assert facts.functions == {"predict": "b" * 64}


def test_as_of_is_the_registry_as_it_was(registry: Registry) -> None:
    one = save(registry)
    registry.set_tags(one, {"passes_tests": "true", "region": None}, actor="bob")
    registry.log_metrics(one, {"auc": 0.5}, actor="bob")
    between = registry.changes(registry.last_change() - 1)[0].at
    two = save(registry)
    registry.set_tags(one, {"passes_tests": None, "region": "EU"}, actor="bob")
    registry.log_metrics(one, {"auc": 0.9}, actor="bob")
    registry.log_metrics(one, {"auc": 0.7}, actor="bob", at=LONG_AGO)
    registry.add_function(one, "later", SHA, actor="bob")
    registry.add_proof(one, platform="linux", ok=True, actor="bob")

    assert ids(registry) == [two, one]
    (then,) = registry.find("", as_of=between)
    assert then.id == one
    assert then.tags == {"canonical_name": "client_ltv", "passes_tests": "true"}
    assert set(then.functions) == {"predict"}
    for query in (
        "tags.passes_tests = 'true' and metrics.auc = 0.5",
        "not exists tags.region",
        "proved = false and not exists functions.later",
    ):
        assert ids(registry, query, as_of=between) == [one], query
    for query in ("tags.region = 'EU'", "tags.region != 'x'", "metrics.auc > 0.5", "proved = true"):
        assert ids(registry, query, as_of=between) == [], query
    assert ids(registry, "", as_of=LONG_AGO) == []


def test_a_named_actor_is_required_to_be_text(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="the actor"):
        registry.set_tags(save(registry), {"a": "b"}, actor="\0")
