"""Forms over a real registry, without a browser: what they save, refuse and keep."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from controller.history import CUT, would_have_wanted
from controller.server import serving
from controller.web.fields import typed_of
from envelope.config import DeploymentConfig, DesiredState, RuleConfig, read_desired_state
from envelope.connection import disconnect
from envelope.registry import Made, Registry
from ray_runtime.ports import free_ports
from tests.pages import DEPLOYMENT, STATE, Filled, fill

RULE = {"query": "tags.region = 'US'", "deploy_to": DEPLOYMENT}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("forms")))
        patch.setenv("ENVELOPE_ACTOR", "ann")
        yield fill()
    disconnect()


@pytest.fixture
def registry(filled: Filled) -> Iterator[Registry]:
    """The registry; what a test wants of it is gone again after it."""
    registry = filled.connection.registry
    yield registry
    registry.apply_state(DesiredState.model_validate(STATE), actor="ann", rest="remove")


@pytest.fixture(scope="module")
def client(filled: Filled) -> Iterator[httpx.Client]:
    (port,) = free_ports(1)
    settings = replace(filled.connection.settings, api_port=port)
    url = f"http://localhost:{port}"
    with (
        serving(replace(filled.connection, settings=settings)),
        httpx.Client(base_url=url, timeout=30, headers={"origin": url}) as client,
    ):
        yield client


def version_in(text: str) -> str:
    found = re.search(r'name="_version" value="(\d+)"', text)
    assert found is not None
    return found[1]


def fault_at(text: str, path: str) -> str:
    found = re.search(rf'id="e-{re.escape(path)}"[^>]*>([^<]*)<', text)
    assert found is not None
    return html.unescape(found[1])


def value_of(text: str, path: str) -> str:
    found = re.search(rf'name="{re.escape(path)}" value="([^"]*)"', text)
    assert found is not None
    return html.unescape(found[1])


def form_in(text: str) -> dict[str, str]:
    """What a browser would send of the form as it is: every field that holds something."""
    inputs = re.findall(
        r'<input (?!type="checkbox")[^>]*?name="([^"]+)"[^>]*? value="([^"]*)"', text
    )
    inputs += re.findall(r'<textarea [^>]*?name="([^"]+)"[^>]*>([^<]*)<', text)
    inputs += re.findall(r'<input type="checkbox"[^>]*? name="([^"]+)" value="(on)" checked', text)
    for name, options in re.findall(
        r'<select [^>]*?name="([^"]+)"[^>]*>(.*?)</select>', text, re.S
    ):
        inputs += [(name, one) for one in re.findall(r"<option selected>([^<]*)<", options)]
    return {name: html.unescape(value) for name, value in inputs}


# --- rules


def test_a_rule_is_made_and_edited(client: httpx.Client, registry: Registry) -> None:
    sent = {"_name": "uk", "_version": "0", **RULE, "query": "tags.region = 'UK'"}
    answer = client.post("/forms/rule", data=sent)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/rules"), answer.text
    page = client.get("/forms/rule", params={"name": "uk"}).text
    assert (version_in(page), value_of(page, "query")) == ("1", "tags.region = 'UK'")
    edited = {**sent, "_version": "1", "priority": "5", "paused": "on"}
    assert client.post("/forms/rule", data=edited).status_code == 303
    (rule,) = [row for row in registry.rules() if row.name == "uk"]
    assert (rule.priority, rule.paused, rule.version) == (5, True, 2)
    assert registry.changes(registry.last_change() - 1)[0].actor == "ann"


WRONG = [
    pytest.param({"query": "tags.region ="}, "query", "column 14", id="query"),
    pytest.param({"query": ""}, "query", "is needed", id="no-query"),
    pytest.param({"deploy_to": "gone"}, "deploy_to", "there are: client_ltv", id="deployment"),
    pytest.param({"priority": "high"}, "priority", "write a whole number", id="priority"),
    pytest.param({"_name": ""}, "_name", "give it a name", id="name"),
]


@pytest.mark.parametrize(("wrong", "where", "says"), WRONG)
def test_a_wrong_rule_is_told_at_its_field_and_nothing_is_lost(
    client: httpx.Client, registry: Registry, wrong: dict[str, str], where: str, says: str
) -> None:
    before = registry.last_change()
    sent = {"_name": "new", "_version": "0", **RULE, "priority": "7"} | wrong
    answer = client.post("/forms/rule", data=sent)
    assert answer.status_code == 400
    assert says in fault_at(answer.text, where)
    for path in ("_name", "query", "deploy_to", "priority"):
        assert value_of(answer.text, path) == sent[path]
    assert registry.last_change() == before


def test_a_rule_that_was_changed_meanwhile_is_told_and_not_overwritten(
    client: httpx.Client, registry: Registry
) -> None:
    page = client.get("/forms/rule?name=us").text
    theirs = RuleConfig(query="tags.region = 'EU'", deploy_to=DEPLOYMENT)
    registry.apply_state(DesiredState(rules={"us": theirs}), actor="bob")
    mine = {"_name": "us", "_version": version_in(page), **RULE, "priority": "3"}
    answer = client.post("/forms/rule", data=mine)
    assert answer.status_code == 409
    assert "written by bob" in answer.text
    assert "By now: <code>tags.region = &#39;EU&#39;</code>" in answer.text
    assert (value_of(answer.text, "priority"), value_of(answer.text, "query")) == (
        "3",
        RULE["query"],
    )
    assert [row.query for row in registry.rules()] == [theirs.query]
    again = client.post("/forms/rule", data=mine | {"_version": version_in(answer.text)})
    assert again.status_code == 303  # who has seen it may
    assert [(row.query, row.priority) for row in registry.rules()] == [(RULE["query"], 3)]
    new = client.post("/forms/rule", data=mine | {"_version": "0"})
    assert (new.status_code, "is there already" in new.text) == (409, True)


def test_a_rule_is_paused_and_resumed(client: httpx.Client, registry: Registry) -> None:
    (rule,) = registry.rules()
    sent = {"name": "us", "version": str(rule.version), "paused": "1"}
    assert client.post("/rules/pause", data=sent).status_code == 303
    assert registry.rules()[0].paused
    stale = client.post("/rules/pause", data=sent | {"paused": ""})
    assert (stale.status_code, "written by ann" in stale.text) == (409, True)
    resumed = {"name": "us", "version": str(rule.version + 1)}
    assert client.post("/rules/pause", data=resumed).status_code == 303
    assert not registry.rules()[0].paused
    assert client.post("/rules/pause", data={"name": "no", "version": "1"}).status_code == 400
    assert client.post("/rules/pause", data={"name": "us", "version": "x"}).status_code == 400


def test_the_preview_shows_what_matches_and_what_was(
    client: httpx.Client, registry: Registry, filled: Filled
) -> None:
    before = registry.last_change()
    sent = {"_name": "new", "_version": "0", **RULE, "_do": "preview"}
    text = client.post("/forms/rule", data=sent).text
    matches = text[text.index("Matches now") : text.index("Would have been wanted")]
    assert re.findall(r'href="/models/(\w+)"', matches) == list(reversed(filled.ids[:3]))
    past = text[text.index("Would have been wanted") : text.index("As YAML")]
    assert [one for one in re.findall(r'href="/models/(\w+)"', past)] == list(filled.ids[:3])
    assert "was never released there" in past and "was live there from" in past
    assert "deploy_to: client_ltv" in text[text.index("As YAML") :]
    broken = client.post("/forms/rule", data=sent | {"query": "tags."})
    assert broken.status_code == 200
    assert "column" in fault_at(broken.text, "query")
    assert registry.last_change() == before


def test_a_trial_that_takes_too_long_says_so(registry: Registry, filled: Filled) -> None:
    since = datetime.now(UTC) - timedelta(days=1)
    whole = list(would_have_wanted(registry, RULE["query"], since))
    assert [one.envelope_id for one in whole] == [None, *filled.ids[:3]]
    asked = iter([False, True])
    cut = list(would_have_wanted(registry, RULE["query"], since, lambda: next(asked)))
    assert cut[:2] == whole[:2]
    assert (cut[-1].envelope_id, cut[-1].because) == (filled.ids[0], CUT)


def test_the_trial_follows_the_newest_match_through_every_change(
    registry: Registry, filled: Filled
) -> None:
    """Asked of one envelope at a time, it says what asking the whole registry each time says."""
    query, since = "tags.trial = 'on'", datetime.now(UTC)
    for place, value in [(1, "on"), (0, "on"), (3, "on"), (3, None), (1, None), (0, None)]:
        registry.set_tags(filled.ids[place], {"trial": value}, actor="ann")
    steps = list(would_have_wanted(registry, query, since))
    assert [one.envelope_id for one in steps] == [
        None,
        filled.ids[1],
        filled.ids[3],
        filled.ids[1],
        filled.ids[0],
        None,
    ]
    assert [one.envelope_id for one in steps] == [
        next((row.id for row in registry.find(query, as_of=one.at, limit=1)), None) for one in steps
    ]


# --- deployments

FULL = {
    "num_replicas": 2,
    "timeout_s": 0.5,
    "extra_columns": "ignore",
    "max_age": "8d",
    "gates": {
        "proved": True,
        "tags": {"approved": "yes"},
        "metrics": ["auc >= 0.8", "auc >= live - 0.01"],
        "sla": {"p99_ms": 20},
    },
    "rollout": {"strategy": "canary", "steps": [{"share": 5, "minutes": 10}]},
}


def test_a_deployment_is_made_and_its_form_sent_back_changes_nothing(
    client: httpx.Client, registry: Registry
) -> None:
    config = DeploymentConfig.model_validate(FULL)
    sent = {"_name": "full", "_version": "0", **typed_of(config)}
    answer = client.post("/forms/deployment", data=sent)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/deployments/full")
    (row,) = [one for one in registry.deployments() if one.name == "full"]
    assert row.config == config
    last = registry.last_change()
    page = client.get("/forms/deployment?name=full").text
    assert client.post("/forms/deployment", data=form_in(page)).status_code == 303
    assert registry.last_change() == last
    shown = yaml.safe_load(html.unescape(page[page.index("<pre") :].split(">", 1)[1].split("<")[0]))
    state = DesiredState.model_validate(shown)
    assert state.deployments == {"full": config}


def test_an_empty_field_is_the_default(client: httpx.Client, registry: Registry) -> None:
    page = form_in(client.get(f"/forms/deployment?name={DEPLOYMENT}").text)
    page["timeout_s"], page["gates.metrics"] = "", ""
    assert client.post("/forms/deployment", data=page).status_code == 303
    assert registry.deployments()[0].config == DeploymentConfig()


def test_a_wrong_deployment_is_told_at_its_fields_and_nothing_is_lost(
    client: httpx.Client, registry: Registry
) -> None:
    before = registry.last_change()
    wrong = {
        "_name": "No Such Name",
        "num_replicas": "many",
        "gates.metrics": "auc >= 0.8\r\nauc >",
        "rollout.strategy": "canary",
        "rollout.steps.0.share": "500",
        "rollout.steps.0.minutes": "1",
    }
    answer = client.post("/forms/deployment", data=wrong | {"_version": "0"})
    assert answer.status_code == 400
    for path, says in {
        "_name": "cannot be a deployment",
        "num_replicas": "write a whole number",
        "gates.metrics": "line 2: ",
        "rollout.steps.0.share": "must be at most 100",
    }.items():
        assert says in fault_at(answer.text, path)
    kept = form_in(answer.text)
    assert {key: kept[key].splitlines() for key in wrong} == {
        key: text.splitlines() for key, text in wrong.items()
    }
    assert registry.last_change() == before


def test_another_step_is_added_without_losing_what_is_typed(client: httpx.Client) -> None:
    sent = {"_name": "x", "_version": "0", "timeout_s": "7", "rollout.steps.0.share": "5"}
    text = client.post("/forms/deployment", data=sent | {"_do": "more:rollout.steps"}).text
    assert text.count("<legend>rollout.steps ") == 3
    assert (value_of(text, "timeout_s"), value_of(text, "rollout.steps.0.share")) == ("7", "5")
    assert not re.search(r'id="e-[^"]*"[^>]*>[^<]', text)  # it is not asked yet whether it is right


def test_a_deployment_that_was_changed_meanwhile_is_told(
    client: httpx.Client, registry: Registry
) -> None:
    mine = form_in(client.get(f"/forms/deployment?name={DEPLOYMENT}").text) | {"timeout_s": "9"}
    theirs = DeploymentConfig(num_replicas=4)
    registry.apply_state(DesiredState(deployments={DEPLOYMENT: theirs}), actor="bob")
    answer = client.post("/forms/deployment", data=mine)
    assert (answer.status_code, "written by bob" in answer.text) == (409, True)
    assert "By now: <code>4</code>" in answer.text
    assert registry.deployments()[0].config == theirs
    assert client.post("/forms/deployment", data=form_in(answer.text)).status_code == 303
    assert registry.deployments()[0].config.timeout_s == 9


# --- batch jobs

JOB = {
    "_name": "nightly",
    "_version": "0",
    "query": "tags.region = 'US'",
    "input.path": "s3://w/clients/*.parquet",
    "output.path": "s3://w/ltv",
    "output.keep_columns": "[id, region]",
}


def test_a_batch_job_is_made_and_its_file_runs_it(
    client: httpx.Client, registry: Registry, filled: Filled, tmp_path: Path
) -> None:
    page = client.post("/forms/batch-job", data=JOB | {"_do": "preview"}).text
    assert "envelope batch submit nightly.yaml nightly" in page
    assert f'href="/models/{filled.ids[2]}"' in page
    file = client.post("/forms/batch-job", data=JOB | {"_do": "download"})
    assert file.headers["content-disposition"] == 'attachment; filename="nightly.yaml"'
    (tmp_path / "nightly.yaml").write_text(file.text)
    assert registry.batch_jobs() == []
    answer = client.post("/forms/batch-job", data=JOB)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/batch-jobs")
    (row,) = registry.batch_jobs()
    assert row.config.output.keep_columns == ("id", "region")
    assert read_desired_state(tmp_path / "nightly.yaml").batch_jobs == {"nightly": row.config}
    shown = client.get("/batch-jobs").text
    assert "s3://w/clients/*.parquet" in shown and f'href="/models/{filled.ids[2]}"' in shown
    sent = form_in(client.get("/forms/batch-job?name=nightly").text)
    assert client.post("/forms/batch-job", data=sent | {"concurrency": "2"}).status_code == 303
    assert (registry.batch_jobs()[0].version, registry.batch_jobs()[0].config.concurrency) == (2, 2)


WRONG_JOBS = [
    pytest.param({"query": "tags."}, "query", "column", id="query"),
    pytest.param({"input.path": ""}, "input.path", "is needed", id="no-input"),
    pytest.param({"output.path": "~/out"}, "output.path", "write the place in full", id="home"),
    pytest.param({"input.path": "$HOME/in"}, "input.path", "is another machine", id="variable"),
    pytest.param({"input.format": "xls"}, "input.format", "must be one of", id="format"),
    pytest.param({"output.keep_columns": "[id"}, "output.keep_columns", "not YAML", id="columns"),
]


@pytest.mark.parametrize(("wrong", "where", "says"), WRONG_JOBS)
def test_a_wrong_batch_job_is_told_at_its_field(
    client: httpx.Client, registry: Registry, wrong: dict[str, str], where: str, says: str
) -> None:
    answer = client.post("/forms/batch-job", data=JOB | wrong)
    assert (answer.status_code, registry.batch_jobs()) == (400, [])
    assert says in fault_at(answer.text, where)
    assert (
        client.post("/forms/batch-job", data=JOB | wrong | {"_do": "download"}).status_code == 400
    )


def test_what_stands_against_a_run_is_told_beside_the_form(client: httpx.Client) -> None:
    sent = JOB | {"_do": "preview", "function": "explain"}
    assert "it has no function &#39;explain&#39;" in client.post("/forms/batch-job", data=sent).text
    nothing = JOB | {"_do": "preview", "query": "tags.region = 'Mars'"}
    assert "No envelope matches." in client.post("/forms/batch-job", data=nothing).text


def test_a_form_for_what_there_is_not_says_what_there_is(client: httpx.Client) -> None:
    for path, says in [
        ("/forms/rule?name=gone", "there are: us"),
        ("/forms/deployment?name=gone", f"there are: {DEPLOYMENT}"),
        ("/forms/batch-job?name=gone", "there are: none yet"),
    ]:
        answer = client.get(path)
        assert (answer.status_code, says in answer.text) == (400, True)


# --- templates

TEMPLATE = "ltv_{tags.region}"


def test_a_template_is_configured_and_its_rule_made(
    client: httpx.Client, registry: Registry
) -> None:
    sent = {"_name": TEMPLATE, "_version": "0", "max_queue": "7"}
    answer = client.post("/forms/deployment", data=sent)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/deployments")
    page = client.get("/forms/deployment", params={"name": TEMPLATE}).text
    assert (version_in(page), value_of(page, "max_queue")) == ("1", "7")
    edited = {**sent, "_version": "1", "max_queue": "8"}
    assert client.post("/forms/deployment", data=edited).status_code == 303
    assert client.post("/forms/deployment", data=edited).status_code == 409
    assert f">{TEMPLATE}</a> configures" in client.get("/deployments").text

    rule = {"_version": "0", "query": "tags.canonical_name = 'client_ltv'", "deploy_to": TEMPLATE}
    preview = client.post("/forms/rule", data={**rule, "_name": "by", "_do": "preview"}).text
    assert "ltv_uk (region=&#39;UK&#39;)" in preview and "ltv_us (region=&#39;US&#39;)" in preview
    wrong = client.post("/forms/rule", data={**rule, "_name": "by", "deploy_to": "ltv_{region}"})
    assert "names no tag" in fault_at(wrong.text, "deploy_to")
    assert client.post("/forms/rule", data={**rule, "_name": "by"}).status_code == 303
    assert 'href="/deployments/ltv_us">ltv_us (region=' in client.get("/rules").text

    made_of = Made(template=TEMPLATE, tags={"region": "US"})
    assert registry.make_deployment("ltv_us", made_of, actor="controller")
    page = client.get("/deployments/ltv_us").text
    assert f"{TEMPLATE} for region=&#39;US&#39;" in page
    assert "with its configuration" in page
    assert "deploy_to: ltv_{tags.region}" in page and "max_queue: 8" in page
    assert "rule by wants it on ltv_uk" in page
    assert client.get("/audit").status_code == 200
