"""The wanted state as YAML, and the past: as typed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from envelope.config import DesiredState
from tests.delivery_world import World
from tests.integration.test_delivery_commands import Run, run, serving, world

__all__ = ["run", "serving", "world"]  # fixtures

WHOLE = """
deployments:
  ltv:
    num_replicas: 2
    gates: {proved: true, metrics: ["auc >= live - 0.01"], schema: any, sla: {p99_ms: 20}}
  churn: {}
rules:
  us: {query: tags.ok = 'yes', deploy_to: ltv, priority: 3}
  eu: {query: tags.ok = 'eu', deploy_to: churn, paused: true}
batch_jobs:
  nightly: {query: proved = true, input: {path: /data/in}, output: {path: /data/out}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "team.yaml"
    path.write_text(WHOLE)
    return path


def test_a_dry_run_says_what_the_real_one_does(world: World, run: Run, path: Path) -> None:
    dry = run("apply", "-f", str(path), "--dry-run")
    assert world.registry.deployments() == []
    assert world.registry.last_change() == 0
    _, real = run("apply", "-f", str(path))
    assert (dry[0], dry[1].splitlines()) == (0, real.splitlines()[:5])
    assert run("apply", "-f", str(path), "--dry-run") == (0, "nothing would change\n")


def test_prune_removes_what_the_files_do_not_name(serving: World, run: Run, path: Path) -> None:
    run("apply", "-f", str(path))
    path.write_text("deployments: {churn: {}}\n")
    expected = [
        "batch job nightly: removed",
        "deployment ltv: undeployed",
        "rule eu: removed",
        "rule us: removed",
    ]
    assert run("apply", "-f", str(path), "--prune", "--dry-run")[1].splitlines() == expected
    assert run("apply", "-f", str(path), "--prune")[1].splitlines() == expected
    serving.settle()
    assert serving.serve.names() == set()
    path.write_text(WHOLE)
    assert "rule us: back" in run("apply", "-f", str(path))[1]
    assert [rule.version for rule in serving.registry.rules()] == [2, 3]


def test_a_removed_rule_keeps_what_is_live(serving: World, run: Run, path: Path) -> None:
    live = serving.live()
    path.write_text("deployments: {ltv: {}}\n")
    run("apply", "-f", str(path), "--prune")
    serving.save(ok="yes")
    serving.settle()
    assert serving.live() == live


def test_diff_state_has_a_status(world: World, run: Run, path: Path) -> None:
    run("apply", "-f", str(path))
    assert run("diff-state", "-f", str(path)) == (0, "no difference\n")
    path.write_text(WHOLE.replace("num_replicas: 2", "num_replicas: 3").replace("  churn: {}", ""))
    path.write_text(path.read_text().replace("deploy_to: churn", "deploy_to: ltv"))
    status, printed = run("diff-state", "-f", str(path))
    assert status == 1
    assert printed.splitlines() == [
        "deployment ltv: num_replicas 2 -> 3",
        "rule eu: deploy_to churn -> ltv",
        "deployment churn: undeployed",
    ]


def test_exported_state_applies_to_the_same(world: World, run: Run, path: Path) -> None:
    run("apply", "-f", str(path))
    exported = run("export-state")[1]
    assert DesiredState.model_validate(yaml.safe_load(exported)) == world.registry.state()
    path.write_text(exported)
    assert run("diff-state", "-f", str(path)) == (0, "no difference\n")


# --- the past


def test_who_answered(serving: World, run: Run) -> None:
    first = serving.releases()[0]
    serving.clock.advance(3600)
    serving.save(ok="yes")
    serving.settle()
    second = serving.releases()[0]
    assert first.live_at is not None and second.live_at is not None
    at = (first.live_at + timedelta(minutes=5)).isoformat()
    printed = run("who-answered", "ltv", "--at", at)[1]
    assert printed.startswith(f"{first.envelope_id}  live 2026-03-01 12:00")
    assert f"release {first.id}, by rule us version 1, config version 1" in printed
    at = (second.live_at + timedelta(minutes=5)).isoformat()
    record = json.loads(run("who-answered", "ltv", "--at", at, "--json")[1])
    assert record["envelope_id"] == second.envelope_id
    status, printed = run("who-answered", "ltv", "--at", "2020-01-01T00:00Z")
    assert status == 1
    assert "nothing was live on ltv at 2020-01-01T00:00:00+00:00" in printed
    assert run("who-answered", "ltv", "--at", "noon")[0] == 2


def test_a_rule_is_tried_on_the_past(world: World, run: Run, path: Path) -> None:
    old = world.save()
    world.clock.advance(60)
    new = world.save()
    for envelope_id, value in ((new, "eu"), (old, "yes"), (new, "yes"), (new, "no")):
        world.clock.advance(60)
        world.tag(envelope_id, ok=value)
    since = datetime(2026, 3, 1, 11, tzinfo=UTC).isoformat()
    printed = run("rule", "test", str(path), "--since", since)[1].splitlines()
    assert printed == [
        "us: tags.ok = 'yes'",
        "  2026-03-01 11:00:00  nothing matches, what is live stays  (as it was then)",
        f"  2026-03-01 12:03:00  {old}  (tag by ann)",
        f"  2026-03-01 12:04:00  {new}  (tag by ann)",
        f"  2026-03-01 12:05:00  {old}  (tag by ann)",
        "eu: tags.ok = 'eu'",
        "  2026-03-01 11:00:00  nothing matches, what is live stays  (as it was then)",
        f"  2026-03-01 12:02:00  {new}  (tag by ann)",
        "  2026-03-01 12:04:00  nothing matches, what is live stays  (tag by ann)",
    ]
    run("apply", "-f", str(path))
    records = run("rule", "test", "us", "--since", since, "--json")[1].splitlines()
    assert [json.loads(line)["envelope_id"] for line in records] == [None, old, new, old]
    assert "is neither a file nor a rule; there are: eu, us" in run("rule", "test", "gone")[1]


def test_audit_lists_the_newest_changes_oldest_first(world: World, run: Run, path: Path) -> None:
    run("apply", "-f", str(path))
    world.tag(world.save(), ok="yes")

    def listed(*options: str) -> list[tuple[int, str]]:
        records = map(json.loads, run("audit", "--json", *options)[1].splitlines())
        return [(record["seq"], record["kind"]) for record in records]

    whole = listed("--limit", "0")
    assert [seq for seq, _ in whole] == list(range(1, len(whole) + 1))
    assert listed("--limit", "2") == whole[-2:]
    assert listed("--after", "3") == whole[3:]
    assert [kind for _, kind in listed("--kind", "rule")] == ["rule", "rule"]
    assert listed("--actor", "nobody") == []
    assert "priority" in run("audit", "--kind", "rule")[1]


TEMPLATES = """
deployments:
  "ltv_{tags.region}": {max_queue: 7}
rules:
  region: {query: tags.ok = 'yes', deploy_to: "ltv_{tags.region}"}
"""


@pytest.fixture
def by_region(world: World, run: Run, path: Path) -> dict[str, str]:
    """A template that makes one deployment, and what it makes none of."""
    path.write_text(TEMPLATES)
    assert run("apply", "-f", str(path))[1].splitlines()[:2] == [
        "template ltv_{tags.region}: created",
        "rule region: created",
    ]
    saved = {region: world.save(ok="yes", region=region) for region in ("US", "U S")}
    world.settle()
    return saved


def test_a_template_is_exported_and_differs_in_nothing(
    by_region: dict[str, str], run: Run, path: Path
) -> None:
    exported = yaml.safe_load(run("export-state")[1])
    assert exported == yaml.safe_load(TEMPLATES)
    assert run("diff-state", "-f", str(path)) == (0, "no difference\n")
    assert run("apply", "-f", str(path), "--prune")[1].splitlines()[0] == "nothing changed"
    path.write_text("{}")
    assert run("diff-state", "-f", str(path))[1].splitlines() == [
        "deployment ltv_us: undeployed",
        "rule region: removed",
        "template ltv_{tags.region}: removed",
    ]


NO_NAME = "region='U S' makes 'ltv_u s', which cannot be a deployment's name; change the tag"


def test_what_a_template_makes_and_what_not(
    world: World, by_region: dict[str, str], run: Run
) -> None:
    printed = run("rules")[1].splitlines()
    assert printed[:2] == ["region -> ltv_{tags.region}  priority 0", "    tags.ok = 'yes'"]
    assert printed[2].startswith(f"    no deployment for region='U S': {NO_NAME}")
    assert printed[3] == "    ltv_us (region='US')"
    (record,) = map(json.loads, run("rules", "--json")[1].splitlines())
    assert [(each["tags"], each["deployment"]) for each in record["places"]] == [
        ({"region": "U S"}, None),
        ({"region": "US"}, "ltv_us"),
    ]
    assert "not made    rule region: no deployment for region='U S'" in run("status")[1]
    assert "made by ltv_{tags.region}" in run("deployments")[1]
    explained = run("explain", "ltv_us")[1]
    assert "  made by ltv_{tags.region} for region='US', with its configuration" in explained
    assert f"not wanted: rule region: {NO_NAME}" in explained
    answered = json.loads(run("deployments", "--json")[1])
    assert answered["made_of"] == {"template": "ltv_{tags.region}", "tags": {"region": "US"}}
    at = (world.clock.now - timedelta(seconds=1)).isoformat()
    assert "by rule region version 1" in run("who-answered", "ltv_us", "--at", at)[1]


@pytest.mark.parametrize("is_applied", [True, False])
def test_a_template_is_tried_on_the_past_for_each_value(
    world: World, by_region: dict[str, str], run: Run, path: Path, is_applied: bool
) -> None:
    if not is_applied:
        path.write_text(TEMPLATES.replace("region:", "other:", 1).replace("ltv_", "new_"))
    name = "ltv_us" if is_applied else "new_us"
    since = datetime(2026, 3, 1, 11, tzinfo=UTC).isoformat()
    printed = run("rule", "test", "region" if is_applied else str(path), "--since", since)[1]
    lines = printed.splitlines()
    assert lines[1].startswith("  no deployment for region='U S': region='U S' makes")
    assert lines[2:4] == [
        f"  {name} (region='US')",
        "    2026-03-01 11:00:00  nothing matches, what is live stays  (as it was then)",
    ]
    assert lines[4].endswith(f"{by_region['US']}  (envelope by ann)")


def test_a_template_that_cannot_be_is_refused(world: World, run: Run, path: Path) -> None:
    path.write_text("rules: {r: {query: tags.ok = 'yes', deploy_to: 'ltv_{region}'}}")
    status, printed = run("apply", "-f", str(path))
    assert status == 1
    assert "rule 'r' deploys to a template that cannot be: 'ltv_{region}' holds" in printed
    path.write_text("deployments: {'LTV_{tags.region}': {}}")
    assert "makes no deployment's name of any value" in run("apply", "-f", str(path))[1]
