"""Deployments, rules, batch jobs and releases on both databases."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from envelope.config import (
    BatchInput,
    BatchJobConfig,
    BatchOutput,
    DeploymentConfig,
    DesiredState,
    Resources,
    RuleConfig,
)
from envelope.errors import ConfigError, EnvelopeError, ModelNotFound
from envelope.registry import ArmCounts, Made, Registry, StaleRelease, StaleState
from envelope.registry.releases import TRANSITIONS
from tests.manifests import a_manifest

US = RuleConfig(query="tags.region = 'US'", deploy_to="ltv")
JOB = BatchJobConfig(
    query="tags.region = 'US'",
    input=BatchInput(path="in.parquet"),
    output=BatchOutput(path="out"),
)
STATE = DesiredState(deployments={"ltv": DeploymentConfig()}, rules={"us": US})


def save(registry: Registry) -> str:
    return registry.register(a_manifest(), "c" * 64, actor="ann").id


def test_apply_creates_then_changes_nothing(registry: Registry) -> None:
    state = STATE.model_copy(update={"batch_jobs": {"nightly": JOB}})
    assert registry.apply_state(state, actor="ann") == [
        "deployment ltv: created",
        "rule us: created",
        "batch job nightly: created",
    ]
    last = registry.last_change()
    assert registry.apply_state(state, actor="ann") == []
    assert registry.last_change() == last
    (deployment,), (rule,), (job,) = (
        registry.deployments(),
        registry.rules(),
        registry.batch_jobs(),
    )
    assert (deployment.name, deployment.config_version) == ("ltv", 1)
    assert deployment.config == DeploymentConfig() and not deployment.is_removed
    assert (rule.query, rule.deploy_to, rule.version) == (US.query, "ltv", 1)
    assert (job.name, job.config, job.version) == ("nightly", JOB, 1)


def test_apply_says_what_changed_and_counts_versions(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    config = DeploymentConfig(num_replicas=2, resources=Resources(num_cpus=1))
    changed = DesiredState(
        deployments={"ltv": config},
        rules={"us": US.model_copy(update={"paused": True, "priority": 3})},
    )
    assert registry.apply_state(changed, actor="bob") == [
        "deployment ltv: num_replicas 1 -> 2",
        "deployment ltv: resources.num_cpus 0.25 -> 1.0",
        "rule us: paused False -> True",
        "rule us: priority 0 -> 3",
    ]
    assert registry.deployments()[0].config_version == 2
    assert registry.deployments()[0].config == config
    assert (registry.rules()[0].version, registry.rules()[0].paused) == (2, True)
    change = registry.changes(registry.last_change() - 1)[0]
    assert (change.kind, change.key, change.actor) == ("rule", "us", "bob")
    assert change.detail == {
        "version": 2,
        "changed": {"paused": [False, True], "priority": [0, 3]},
    }


def test_nothing_is_written_over_what_somebody_else_changed_meanwhile(registry: Registry) -> None:
    state = STATE.model_copy(update={"batch_jobs": {"nightly": JOB}})
    new = {"deployments.ltv": 0, "rules.us": 0, "batch_jobs.nightly": 0}
    registry.apply_state(state, actor="ann", expected=new)
    paused = DesiredState(rules={"us": US.model_copy(update={"paused": True})})
    registry.apply_state(paused, actor="bob", expected={"rules.us": 1})
    last = registry.last_change()
    with pytest.raises(StaleState, match=r"rules.us is version 2 by now, written by bob at .* UTC"):
        registry.apply_state(STATE, actor="ann", expected={"rules.us": 1, "deployments.ltv": 1})
    with pytest.raises(StaleState) as caught:
        registry.apply_state(state, actor="ann", expected=new)
    assert [line.split(",")[0] for line in str(caught.value).splitlines()] == [
        "deployments.ltv is there already",
        "rules.us is there already",
        "batch_jobs.nightly is there already",
    ]
    with pytest.raises(StaleState, match=r"rules.gone is not there any more; it was version 4"):
        registry.apply_state(STATE, actor="ann", expected={"rules.gone": 4})
    with pytest.raises(ConfigError, match=r"'tags.a' has no version"):
        registry.apply_state(STATE, actor="ann", expected={"tags.a": 4})
    assert registry.last_change() == last
    registry.apply_state(DesiredState(), actor="ann", rest="remove")
    registry.apply_state(STATE, actor="ann", expected={"deployments.ltv": 0, "rules.us": 0})


def test_apply_leaves_alone_what_the_state_does_not_name(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    registry.apply_state(DesiredState(deployments={"other": DeploymentConfig()}), actor="ann")
    assert [row.name for row in registry.deployments()] == ["ltv", "other"]
    rule = RuleConfig(query="tags.a = 'b'", deploy_to="other")
    assert registry.apply_state(DesiredState(rules={"b": rule}), actor="ann") == ["rule b: created"]


def test_apply_refuses_all_or_nothing_and_names_every_fault(registry: Registry) -> None:
    state = DesiredState(
        deployments={"ltv": DeploymentConfig(), "Bad--Name": DeploymentConfig()},
        rules={
            "lost": RuleConfig(query="tags.a = 'b'", deploy_to="nowhere"),
            "broken": RuleConfig(query="tags.a = 3", deploy_to="ltv"),
        },
        batch_jobs={"job": JOB.model_copy(update={"query": "tags."})},
    )
    with pytest.raises(ConfigError) as caught:
        registry.apply_state(state, actor="ann")
    message = str(caught.value)
    assert "'Bad--Name' cannot be a deployment's name" in message
    assert "rule 'lost' deploys to 'nowhere', which is no deployment" in message
    assert "the query of rule 'broken' cannot be understood: tags are strings: write '3'" in message
    assert "the query of batch job 'job' cannot be understood" in message
    assert registry.deployments() == registry.rules() == registry.batch_jobs() == []
    assert registry.last_change() == 0


def test_every_version_of_a_config_can_be_read(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    two = DeploymentConfig(num_replicas=2)
    registry.apply_state(DesiredState(deployments={"ltv": two}), actor="ann")
    assert registry.deployment_config("ltv", 1) == DeploymentConfig()
    assert registry.deployment_config("ltv", 2) == two
    for name, version in (("ltv", 3), ("other", 1)):
        with pytest.raises(ConfigError, match=f"'{name}' never had config version {version}"):
            registry.deployment_config(name, version)


def test_eight_apply_at_once_and_one_creates(registry: Registry) -> None:
    start = threading.Barrier(8)

    def apply() -> list[str]:
        start.wait()
        return registry.apply_state(STATE, actor="ann")

    with ThreadPoolExecutor(8) as pool:
        lines = [future.result() for future in [pool.submit(apply) for _ in range(8)]]
    created = ["deployment ltv: created", "rule us: created"]
    assert sorted(lines) == [[], [], [], [], [], [], [], created]
    assert registry.last_change() == 2


def test_deploy_by_hand_pins_and_records_a_release(registry: Registry) -> None:
    one = save(registry)
    until = datetime.now(UTC) + timedelta(hours=1)
    release = registry.request_deploy("fresh", one, actor="ann", until=until)
    assert (release.state, release.rule, release.envelope_id) == ("candidate", None, one)
    assert (release.actor, release.reason) == ("ann", "deployed by hand")
    (row,) = registry.deployments()
    assert (row.pin_envelope_id, row.pin_until, row.pinned_by) == (one, until, "ann")
    assert row.config == DeploymentConfig()
    registry.unpin("fresh", actor="bob")
    assert registry.deployments()[0].pin_envelope_id is None
    last = registry.last_change()
    registry.unpin("fresh", actor="bob")
    assert registry.last_change() == last


def test_deploy_by_hand_keeps_the_config_there_is(registry: Registry) -> None:
    registry.apply_state(
        DesiredState(deployments={"ltv": DeploymentConfig(num_replicas=3)}), actor="ann"
    )
    registry.request_deploy("ltv", save(registry), actor="ann")
    assert registry.deployments()[0].config.num_replicas == 3
    assert registry.deployments()[0].config_version == 1


@pytest.mark.parametrize(
    "until, message",
    [
        pytest.param(datetime(2999, 1, 1), "until, .* has no time zone", id="naive"),
        pytest.param(datetime(2020, 1, 1, tzinfo=UTC), "is over; use a time to come", id="past"),
    ],
)
def test_a_pin_needs_an_end_to_come(registry: Registry, until: datetime, message: str) -> None:
    one = save(registry)
    with pytest.raises(ConfigError, match=message):
        registry.request_deploy("ltv", one, actor="ann", until=until)
    assert registry.deployments() == [] and registry.releases() == []


def test_a_removed_deployment_comes_back(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    one = save(registry)
    registry.request_deploy("ltv", one, actor="ann")
    registry.request_undeploy("ltv", actor="ann")
    (row,) = registry.deployments()
    assert row.is_removed and row.pin_envelope_id is None
    assert registry.apply_state(STATE, actor="ann") == ["deployment ltv: brought back"]
    assert not registry.deployments()[0].is_removed
    registry.request_undeploy("ltv", actor="ann")
    registry.request_deploy("ltv", one, actor="ann")
    assert not registry.deployments()[0].is_removed
    assert registry.deployments()[0].config_version == 1


def test_unknown_deployments_name_those_there_are(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    for call in (registry.unpin, registry.request_undeploy):
        with pytest.raises(ConfigError, match="no deployment 'lvt'; there are: ltv"):
            call("lvt", actor="ann")


def release_of(registry: Registry, envelope_id: str, state: str = "candidate") -> str:
    release = registry.create_release(
        deployment="ltv",
        envelope_id=envelope_id,
        rule="us",
        rule_version=1,
        config_version=1,
        actor="controller",
        reason="newest match",
        state=state,
    )
    return release.id


def test_a_release_keeps_every_transition(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    release_id = release_of(registry, save(registry))
    for state, reason in (
        ("gated", "ok"),
        ("starting", "go"),
        ("live", "answers"),
        ("retired", ""),
    ):
        row = registry.move_release(release_id, state, reason=reason, actor="controller")
        assert (row.state, row.reason) == (state, reason)
    assert row.live_at is not None and row.ended_at is not None
    assert row.created_at < row.live_at < row.ended_at == row.updated_at
    events = registry.release_events(release_id)
    assert [(event.from_state, event.to_state, event.reason) for event in events] == [
        (None, "candidate", "newest match"),
        ("candidate", "gated", "ok"),
        ("gated", "starting", "go"),
        ("starting", "live", "answers"),
        ("live", "retired", ""),
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_a_release_moves_only_from_where_the_caller_thinks(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    release_id = release_of(registry, save(registry))
    last = registry.last_change()
    with pytest.raises(StaleRelease, match="is candidate, not gated"):
        registry.move_release(release_id, "starting", reason="", actor="c", expected="gated")
    assert registry.last_change() == last
    assert registry.release(release_id).state == "candidate"
    moved = registry.move_release(release_id, "gated", reason="", actor="c", expected="candidate")
    assert moved.state == "gated"


@pytest.mark.parametrize(
    "state, to_state",
    [
        pytest.param(state, to_state, id=f"{state}-{to_state}")
        for state, to_state in itertools.product(sorted(TRANSITIONS), sorted(TRANSITIONS))
        if to_state not in TRANSITIONS[state]
    ],
)
def test_illegal_transitions(state: str, to_state: str) -> None:
    from envelope.registry.releases import check_transition

    with pytest.raises(EnvelopeError, match=f"is {state} and cannot become {to_state}"):
        check_transition("r1", state, to_state)


def test_what_has_ended_stays_ended(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    release_id = release_of(registry, save(registry), state="rejected")
    assert registry.release(release_id).ended_at is not None
    with pytest.raises(EnvelopeError, match="may follow: nothing, it has ended"):
        registry.move_release(release_id, "live", reason="", actor="c")
    with pytest.raises(EnvelopeError, match="'gone' is no state of a release"):
        registry.move_release(release_id, "gone", reason="", actor="c")
    with pytest.raises(EnvelopeError, match="there is no release 'x'"):
        registry.move_release("x", "live", reason="", actor="c")


def test_releases_are_listed_newest_first(registry: Registry) -> None:
    registry.apply_state(STATE, actor="ann")
    registry.apply_state(DesiredState(deployments={"other": DeploymentConfig()}), actor="ann")
    one = save(registry)
    made = [release_of(registry, one) for _ in range(4)]
    other = registry.request_deploy("other", one, actor="ann").id
    registry.move_release(made[1], "failed", reason="x", actor="c")
    newest = [other, *reversed(made)]
    assert [row.id for row in registry.releases()] == newest
    assert [row.id for row in registry.releases(limit=2)] == newest[:2]
    assert [row.id for row in registry.releases("ltv")] == newest[1:]
    still = [made[3], made[2], made[0]]
    assert [row.id for row in registry.releases("ltv", open_only=True)] == still


def test_a_release_needs_its_deployment_and_envelope(registry: Registry) -> None:
    one = save(registry)
    with pytest.raises(ConfigError, match="no deployment 'ltv'; there are: none yet"):
        release_of(registry, one)
    registry.apply_state(STATE, actor="ann")
    with pytest.raises(ModelNotFound):
        release_of(registry, "01" + "Z" * 24)
    with pytest.raises(ConfigError, match="'mad' is no state"):
        release_of(registry, one, state="mad")


def test_a_beat_is_seen_and_is_no_change(registry: Registry) -> None:
    assert registry.last_beat() is None
    registry.beat("c1", host="h", pid=1)
    first = registry.last_beat()
    registry.beat("c1", host="h", pid=1)
    second = registry.last_beat()
    assert first is not None and second is not None and first < second
    assert registry.last_change() == 0


# --- templates

BY_REGION = "ltv_{tags.region}"
OF_US = Made(template=BY_REGION, tags={"region": "US"})


def test_the_tags_that_matches_have(registry: Registry) -> None:
    saved = [
        registry.register(a_manifest(tags=tags), "c" * 64, actor="ann").id
        for tags in (
            {"ok": "yes", "region": "US", "tier": "a"},
            {"ok": "yes", "region": "US", "tier": "a"},
            {"ok": "yes", "region": "US", "tier": "b"},
            {"ok": "yes", "region": "eu"},
            {"region": "cn", "tier": "a"},
        )
    ]
    one = registry.tag_values("tags.ok = 'yes'", ["region"], limit=10)
    assert [(each.tags, each.envelope_id) for each in one] == [
        ({"region": "US"}, saved[2]),
        ({"region": "eu"}, saved[3]),
    ]
    two = registry.tag_values("tags.ok = 'yes'", ["tier", "region"], limit=10)
    assert [each.tags for each in two] == [
        {"tier": "a", "region": "US"},
        {"tier": "b", "region": "US"},
    ]
    every = registry.tag_values("", ["region"], limit=2)
    assert [each.tags["region"] for each in every] == ["US", "cn"]
    for keys, limit in (([], 10), (["a"] * 9, 10), (["a"], 0), ([""], 10)):
        with pytest.raises(ConfigError):
            registry.tag_values("", keys, limit=limit)


def test_a_deployment_is_made_once_with_its_templates_config(registry: Registry) -> None:
    state = DesiredState(
        deployments={BY_REGION: DeploymentConfig(max_queue=7)},
        rules={"us": US.model_copy(update={"deploy_to": BY_REGION})},
    )
    assert registry.apply_state(state, actor="ann") == [
        f"template {BY_REGION}: created",
        "rule us: created",
    ]
    assert registry.apply_state(state, actor="ann") == []
    assert [(each.text, each.version) for each in registry.templates()] == [(BY_REGION, 1)]
    assert registry.make_deployment("ltv_us", OF_US, actor="controller")
    (row,) = registry.deployments()
    assert (row.made_of, row.is_made, row.config.max_queue) == (OF_US, True, 7)
    assert not registry.make_deployment("ltv_us", OF_US, actor="controller")
    assert registry.state() == state
    registry.apply_state(
        DesiredState(deployments={BY_REGION: DeploymentConfig(max_queue=8)}), actor="ann"
    )
    assert registry.deployments()[0].config.max_queue == 8
    with pytest.raises(StaleState, match="is version 2 by now, written by ann"):
        registry.apply_state(state, actor="bob", expected={f"deployments.{BY_REGION}": 1})


@pytest.mark.parametrize(
    "name, made_of, message",
    [
        pytest.param("ltv_eu", OF_US, "makes 'ltv_us' of these tags", id="another-name"),
        pytest.param("ltv_", Made(template=BY_REGION, tags={}), "has no tag", id="no-tag"),
        pytest.param("ltv_us", Made(template="ltv_us", tags={}), "has no tag", id="no-template"),
    ],
)
def test_what_a_template_does_not_make_is_refused(
    registry: Registry, name: str, made_of: Made, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.make_deployment(name, made_of, actor="controller")
    assert registry.deployments() == []


def test_two_controllers_make_a_deployment_once(registry: Registry) -> None:
    def make(n: int) -> bool:
        tags = {"region": ("US", "us")[n % 2]}
        made_of = Made(template=BY_REGION, tags=tags)
        return registry.make_deployment("ltv_us", made_of, actor=f"controller {n}")

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(make, range(8))) == 1


# --- experiments


def in_an_experiment(registry: Registry) -> str:
    registry.apply_state(STATE, actor="ann")
    release = registry.request_deploy("ltv", save(registry), actor="bob")
    for state in ("gated", "experiment"):
        registry.move_release(release.id, state, reason="x", actor="controller")
    registry.move_release(release.id, "experiment", reason="begins", actor="controller", step=0)
    return release.id


def test_counts_of_arms_are_added_up_over_countings(registry: Registry) -> None:
    release_id, last = in_an_experiment(registry), registry.last_change()
    assert registry.arms(release_id) == []

    def counts(arm: Any, requests: int, times: tuple[int, ...]) -> ArmCounts:
        return ArmCounts(arm=arm, requests=requests, failed=1, times=times)

    first = [counts("champion", 5, (4, 0)), counts("challenger", 2**40, (3, 1))]
    registry.record_arms(release_id, "one", [counts("champion", 3, (2, 0))])
    registry.record_arms(release_id, "one", first)  # it has gone on, or is said once more
    registry.record_arms(release_id, "two", [counts("champion", 10, (0, 8, 1))])
    assert registry.arms(release_id) == [
        first[1],
        ArmCounts(arm="champion", requests=15, failed=2, times=(4, 8, 1)),
    ]
    assert registry.last_change() == last, "it is no change of what is wanted"


@pytest.mark.parametrize("winner", ["champion", "challenger"])
def test_an_experiment_is_ended_once_by_whoever_is_first(registry: Registry, winner: Any) -> None:
    release_id = in_an_experiment(registry)
    release = registry.end_experiment("ltv", winner, reason="orders", actor="eve")
    assert release.id == release_id
    if winner == "challenger":
        assert release.state == "starting"
        assert registry.release_events(release_id)[-1].actor == "eve"
        with pytest.raises(ConfigError, match="there is no experiment on ltv"):
            registry.end_experiment("ltv", winner, reason="orders", actor="ann")
    else:
        (exclusion,) = registry.exclusions("ltv")
        assert (exclusion.envelope_id, exclusion.actor) == (release.envelope_id, "eve")
        assert exclusion.reason == "the champion won the experiment: orders"
        assert registry.deployments()[0].pin_envelope_id is None, "it was pinned to the challenger"
    with pytest.raises(ConfigError, match="there is no deployment 'nope'"):
        registry.end_experiment("nope", winner, reason="x", actor="ann")
