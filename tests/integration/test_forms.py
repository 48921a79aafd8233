"""Forms over a real registry, without a browser: what they save, refuse and keep."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from controller.history import CUT, would_have_wanted
from controller.server import serving
from envelope.config import DesiredState, RuleConfig
from envelope.connection import disconnect
from envelope.registry import Registry
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
