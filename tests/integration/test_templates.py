"""Deployments that a rule's template makes: one for each value of a tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from controller.explain import Opinion, explain
from controller.making import unmade
from envelope.config import DesiredState
from envelope.errors import ConfigError
from envelope.registry import Made, open_registry
from tests.delivery_world import World, new_registry

TEMPLATE = "ltv_{tags.region}"
RULE = {"query": "tags.ok = 'yes'", "deploy_to": TEMPLATE}
QUEUE = {"max_queue": 7}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("templates") / "registry.db"
    open_registry(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def world(migrated: Path, tmp_path: Path) -> Iterator[World]:
    world = World.open(new_registry(migrated, tmp_path / "registry.db"))
    yield world
    world.registry.close()


@pytest.fixture
def regions(world: World) -> World:
    """A template with a config, and two regions that are live."""
    world.apply(deployments={TEMPLATE: QUEUE}, rules={"region": RULE})
    world.save(ok="yes", region="US")
    world.save(ok="yes", region="eu")
    world.settle()
    return world


def live(world: World) -> dict[str, str | None]:
    return {row.name: world.live(row.name) for row in world.registry.deployments()}


def why(world: World, name: str) -> str:
    return explain(world.registry, name, world.clock.now).choice.why


def opinions(world: World, name: str) -> Sequence[Opinion]:
    return explain(world.registry, name, world.clock.now).opinions


def queue(world: World, name: str) -> int:
    return next(row for row in world.registry.deployments() if row.name == name).config.max_queue


def test_each_value_has_a_deployment_with_its_newest_match(world: World) -> None:
    world.apply(rules={"region": RULE})
    world.settle()
    assert live(world) == {}
    old, eu = world.save(ok="yes", region="US"), world.save(ok="yes", region="eu")
    world.save(ok="no", region="cn"), world.save(ok="yes")
    world.settle()
    assert live(world) == {"ltv_us": old, "ltv_eu": eu}
    new = world.save(ok="yes", region="US")
    world.settle()
    assert live(world) == {"ltv_us": new, "ltv_eu": eu}
    release = world.releases("ltv_us")[0]
    assert (release.rule, release.rule_version) == ("region", 1)
    assert release.reason == "answers at its URL"


def test_several_tags_make_one_name(world: World) -> None:
    world.apply(rules={"both": {**RULE, "deploy_to": "{tags.model}-{tags.region}"}})
    one = world.save(ok="yes", model="ltv", region="us")
    two = world.save(ok="yes", model="churn", region="us")
    world.save(ok="yes", model="churn")
    world.settle()
    assert live(world) == {"ltv-us": one, "churn-us": two}


def test_their_config_is_the_templates_unless_an_entry_names_them(regions: World) -> None:
    assert queue(regions, "ltv_us") == queue(regions, "ltv_eu") == 7
    lines = regions.apply(deployments={"ltv_us": {"max_queue": 9}})
    assert lines == [
        "deployment ltv_us: max_queue 7 -> 9",
        "deployment ltv_us: the config is its own",
    ]
    lines = regions.apply(deployments={TEMPLATE: {"max_queue": 8}})
    assert lines == [
        f"template {TEMPLATE}: max_queue 7 -> 8",
        "deployment ltv_eu: max_queue 7 -> 8",
    ]
    assert (queue(regions, "ltv_us"), queue(regions, "ltv_eu")) == (9, 8)
    regions.settle()
    assert [row.config_version for row in regions.releases("ltv_eu")] == [2, 1]
    us = regions.save(ok="yes", region="US")
    regions.settle()
    assert regions.live("ltv_us") == us, "the name still belongs to the template"


def test_one_file_changes_a_template_and_gives_one_of_its_own_an_entry(regions: World) -> None:
    for first, second in ((TEMPLATE, "ltv_us"), ("ltv_eu", TEMPLATE)):
        regions.apply(deployments={first: {"max_queue": 5}, second: {"max_queue": 6}})
    assert (queue(regions, "ltv_us"), queue(regions, "ltv_eu")) == (6, 5)
    assert [row.is_made for row in regions.registry.deployments()] == [False, False]


def test_a_value_that_makes_no_name_is_told_and_nothing_is_made(regions: World) -> None:
    odd, without = regions.save(ok="yes", region="U S"), regions.save(ok="yes")
    regions.settle()
    assert set(live(regions)) == {"ltv_us", "ltv_eu"}
    said = {each.envelope_id: each.why for each in opinions(regions, "ltv_us")}
    assert said[odd].startswith("rule region: region='U S' makes 'ltv_u s', which cannot be")
    assert said[without] == f"rule region: it has no tag 'region', which {TEMPLATE} asks for"
    assert said[regions.live("ltv_eu") or ""] == "rule region wants it on ltv_eu"


def test_a_name_belongs_to_the_tags_that_had_it_first(regions: World) -> None:
    first, stray = regions.live("ltv_us"), regions.save(ok="yes", region="us")
    regions.settle()
    assert regions.live("ltv_us") == first
    (opinion,) = (each for each in opinions(regions, "ltv_us") if each.envelope_id == stray)
    assert opinion.why == f"rule region: the name ltv_us belongs to region='US' of {TEMPLATE}"
    regions.tag(first or "", region="us")
    regions.settle()
    assert regions.live("ltv_us") == stray, "nobody has the first tags any more"


def test_two_templates_that_make_one_name(regions: World) -> None:
    regions.apply(rules={"other": {**RULE, "deploy_to": "ltv_{tags.market}", "priority": 9}})
    first, other = regions.live("ltv_us"), regions.save(ok="yes", market="us")
    regions.settle()
    assert regions.live("ltv_us") == first
    (opinion,) = (each for each in opinions(regions, "ltv_us") if each.envelope_id == other)
    assert f"rule other: the name ltv_us belongs to region='US' of {TEMPLATE}" in opinion.why


def test_a_tag_that_changes_leaves_the_old_one_live_and_makes_the_new(regions: World) -> None:
    us = regions.live("ltv_us")
    regions.tag(us or "", region="jp")
    regions.settle()
    assert live(regions) == {"ltv_us": us, "ltv_eu": regions.live("ltv_eu"), "ltv_jp": us}
    assert why(regions, "ltv_us") == "unmatched: no envelope matches region"


def test_an_older_match_takes_the_place_of_one_whose_tag_changed(regions: World) -> None:
    old, new = regions.live("ltv_us"), regions.save(ok="yes", region="US")
    regions.settle()
    regions.tag(new, region="eu")
    regions.settle()
    assert (regions.live("ltv_us"), regions.live("ltv_eu")) == (old, new)


def test_an_undeployed_one_stays_undeployed(regions: World) -> None:
    regions.registry.request_undeploy("ltv_us", actor="bob")
    regions.settle()
    chosen = regions.save(ok="yes", region="US")
    regions.apply(deployments={TEMPLATE: {"max_queue": 8}}, rules={"region": RULE})
    regions.restart()
    regions.settle()
    assert regions.live("ltv_us") is None and why(regions, "ltv_us") == "undeployed"
    regions.registry.request_deploy("ltv_us", chosen, actor="bob")
    regions.registry.unpin("ltv_us", actor="bob")
    newer = regions.save(ok="yes", region="US")
    regions.settle()
    assert regions.live("ltv_us") == newer, "brought back by hand, it follows its template"
    assert queue(regions, "ltv_us") == 8


@pytest.mark.parametrize("how", ["the rule", "all rules"])
def test_nothing_is_made_while_paused(regions: World, how: str) -> None:
    if how == "the rule":
        regions.apply(rules={"region": {**RULE, "paused": True}})
    else:
        regions.registry.pause_all("incident", actor="bob")
    jp = regions.save(ok="yes", region="jp")
    regions.settle()
    assert "ltv_jp" not in live(regions)
    regions.apply(rules={"region": RULE})
    regions.registry.resume_all(actor="bob")
    regions.settle()
    assert regions.live("ltv_jp") == jp


def test_a_plain_rule_to_the_same_name_decides_by_priority(regions: World) -> None:
    hotfix = {"query": "tags.hotfix = 'yes'", "deploy_to": "ltv_us"}
    with pytest.raises(ConfigError, match="rule 'hotfix' deploys to 'ltv_us', which is no"):
        regions.apply(rules={"hotfix": hotfix})
    fix = regions.save(hotfix="yes")
    regions.apply(deployments={"ltv_us": QUEUE}, rules={"hotfix": {**hotfix, "priority": 5}})
    regions.save(ok="yes", region="US")
    regions.settle()
    assert regions.live("ltv_us") == fix
    regions.apply(rules={"hotfix": hotfix})
    newest = regions.save(ok="yes", region="US")
    regions.settle()
    assert regions.live("ltv_us") == newest


def test_gates_rollback_pin_and_allow_go_by_the_name(regions: World) -> None:
    registry = regions.registry
    regions.apply(deployments={TEMPLATE: {**QUEUE, "gates": {"metrics": ["auc >= 0.5"]}}})
    good = regions.save(ok="yes", region="US", metrics={"auc": 0.9})
    bad = regions.save(ok="yes", region="US", metrics={"auc": 0.1})
    regions.settle()
    assert regions.live("ltv_us") == good
    assert (bad, "rejected") in regions.states("ltv_us")
    better = regions.save(ok="yes", region="US", metrics={"auc": 0.95})
    regions.settle()
    registry.request_rollback("ltv_us", better, back_to=good, reason="slow", actor="bob")
    regions.settle()
    assert regions.live("ltv_us") == good
    assert registry.allow("ltv_us", better, actor="bob")
    regions.settle()
    assert regions.live("ltv_us") == better
    registry.request_deploy("ltv_us", good, actor="bob")
    regions.settle()
    assert regions.live("ltv_us") == good
    assert [row.envelope_id for row in registry.live_at("ltv_us", regions.clock.now)] == [good]


def test_a_template_makes_no_more_than_its_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.making.MOST_MADE", 3)
    world.apply(rules={"region": RULE})
    for n in range(5):
        world.save(ok="yes", region=f"r{n}")
    world.settle()
    assert sorted(live(world)) == ["ltv_r0", "ltv_r1", "ltv_r2"]
    told = [each.against for each in unmade(world.registry)]
    assert len(told) == 2 and "has 3 deployments, the most that one template makes" in str(told[0])


def test_the_state_exported_applies_to_the_same(regions: World) -> None:
    state = regions.registry.state()
    assert set(state.deployments) == {TEMPLATE}
    assert regions.registry.plan_state(state, actor="ann", rest="remove") == []


def test_prune_undeploys_with_the_rule_and_the_rule_brings_back(regions: World) -> None:
    registry, eu = regions.registry, regions.live("ltv_eu")
    whole = registry.state()
    registry.apply_state(DesiredState(), actor="ann", rest="remove")
    regions.settle()
    assert live(regions) == {"ltv_us": None, "ltv_eu": None}
    registry.apply_state(whole, actor="ann", rest="remove")
    regions.settle()
    assert regions.live("ltv_eu") == eu


def test_prune_hands_an_entry_over_to_a_template_that_makes_it(world: World) -> None:
    world.apply(deployments={"ltv_us": {}}, rules={"us": {**RULE, "deploy_to": "ltv_us"}})
    us = world.save(ok="yes", region="US")
    world.settle()
    state = DesiredState.model_validate({"deployments": {TEMPLATE: QUEUE}, "rules": {"us": RULE}})
    assert world.registry.apply_state(state, actor="ann", rest="remove") == [
        f"template {TEMPLATE}: created",
        f"rule us: deploy_to ltv_us -> {TEMPLATE}",
        "deployment ltv_us: max_queue 200 -> 7",
        "deployment ltv_us: the config is of its template",
    ]
    world.settle(lambda: _answers(world, us))
    assert live(world) == {"ltv_us": us}


def _answers(world: World, envelope_id: str) -> None:
    assert world.serve.answers("ltv_us") == envelope_id


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("write", range(1, 6))
def test_killed_at_any_write_of_making_one(world: World, write: int, before: bool) -> None:
    world.apply(rules={"region": RULE})
    us = world.save(ok="yes", region="US")
    world.kill_at(write, before=before)
    world.settle()
    assert live(world) == {"ltv_us": us}


def test_the_next_turn_does_nothing(regions: World) -> None:
    seq = regions.registry.last_change()
    regions.restart()
    assert regions.turn() == []
    regions.clock.advance(60)
    assert regions.turn() == [] and regions.registry.last_change() == seq


def test_a_name_is_given_once(regions: World) -> None:
    registry = regions.registry
    other = Made(template="ltv_{tags.market}", tags={"market": "us"})
    assert not registry.make_deployment("ltv_us", other, actor="two")
    (row,) = (row for row in registry.deployments() if row.name == "ltv_us")
    assert row.made_of == Made(template=TEMPLATE, tags={"region": "US"})
    assert registry.make_deployment("ltv_us", other, actor="two", instead_of=row.made_of)
