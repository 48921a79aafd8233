"""What the SDK does, on each kind of registry: SQLite, PostgreSQL, a registry server."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

import envelope as me
from envelope.connection import Connection, connect
from envelope.delivery import NoControllerWarning
from envelope.errors import ClusterError, ConfigError, EnvelopeError, ModelNotFound, QueryError
from envelope.metrics import METRIC_TYPES

pytestmark = pytest.mark.usefixtures("by_value", "place")


def double(x: float) -> float:
    return 2 * x


@dataclass(frozen=True)
class Gain:
    deciles: list[float]


def save(name: str = "m", **tags: str) -> me.Envelope:
    return me.save_model(name=name, query_function=double, api_input=1.0, tags=tags)


# Finding


def test_the_newest_comes_first() -> None:
    first, second = save(region="US"), save(region="US")
    save(region="UK")
    assert list(me.find(region="US")) == [second, first]
    assert list(me.find("tags.region = 'US'")) == [second, first]
    assert me.latest(region="US") == second
    assert [envelope.tags["region"] for envelope in me.find()] == ["UK", "US", "US"]


def test_a_query_and_tags_must_both_hold() -> None:
    save("a", region="US")
    wanted = save("b", region="US")
    save("b", region="UK")
    assert list(me.find("name = 'b' or name = 'c'", region="US")) == [wanted]


def test_tags_with_quotes_are_found() -> None:
    wanted = save(note="it's")
    assert list(me.find(note="it's")) == [wanted]


def test_finding_is_lazy_but_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        save()
    found = me.find()
    assert isinstance(next(found), me.Envelope)
    with pytest.raises(QueryError, match="column"):
        me.find("tags.region =")


def test_an_id_or_a_prefix_gets_the_envelope() -> None:
    envelope = save()
    assert me.get(envelope.id) == me.get(envelope.id[:24].lower()) == envelope
    with pytest.raises(ModelNotFound, match="no envelope"):
        me.get("0000")


def test_no_match_says_how_many_match_each_condition() -> None:
    save(region="US", kind="x")
    save(region="US", kind="y")
    with pytest.raises(ModelNotFound) as caught:
        me.latest("tags.region = 'US' and (tags.kind = 'z' or tags.kind = 'w')")
    assert str(caught.value).splitlines() == [
        "no envelope matches: tags.region = 'US' and (tags.kind = 'z' or tags.kind = 'w')",
        "  2 match tags.region = 'US'",
        "  0 match (tags.kind = 'z' or tags.kind = 'w')",
        "loosen what fails, or save or tag a model that meets it",
    ]


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(ModelNotFound, match="there is no envelope in this registry"):
        me.latest()


def test_the_newest_of_then() -> None:
    first = save(region="US")
    between = datetime.now(UTC)
    second = save(region="US")
    first.set_tags(region="UK")
    assert me.latest(region="US") == second
    assert me.latest(region="US", as_of=between) == first
    assert me.latest(region="US", as_of=between).tags == {"region": "US"}


# What changes and what does not


def test_tags_are_set_and_removed_and_every_change_is_kept() -> None:
    envelope = save(region="US", old="1")
    envelope.set_tags(passes_tests="true", region="UK")
    envelope.remove_tags("old", "never_there")
    assert envelope.tags == {"passes_tests": "true", "region": "UK"}
    assert me.get(envelope.id).tags == envelope.tags
    history = connect().registry.tag_history(envelope.id)
    assert {(change.key, change.old, change.new, change.actor) for change in history} == {
        ("region", None, "US", "tester@here"),
        ("old", None, "1", "tester@here"),
        ("passes_tests", None, "true", "tester@here"),
        ("region", "US", "UK", "tester@here"),
        ("old", "1", None, "tester@here"),
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(3, r"tag 'version' is int 3, and tags are strings; write str", id="number"),
        pytest.param(None, r"tag 'version' is NoneType None.*remove_tags", id="none"),
        pytest.param("x\0", "NUL", id="nul"),
        pytest.param("x" * 3000, "3000 bytes long", id="long"),
    ],
)
def test_what_is_no_tag_is_refused_and_changes_nothing(value: Any, message: str) -> None:
    envelope = save(region="US")
    with pytest.raises(ConfigError, match=message):
        envelope.set_tags(region="UK", version=value)
    assert me.get(envelope.id).tags == {"region": "US"}


def test_a_handle_shows_what_others_did_when_it_is_refreshed() -> None:
    envelope = save(region="US")
    me.get(envelope.id).set_tags(region="UK")
    assert envelope.tags == {"region": "US"}
    assert envelope.refresh().tags == {"region": "UK"}


@pytest.mark.parametrize("name", ["name", "id", "tags", "schema", "anything"])
def test_nothing_else_can_be_set(name: str) -> None:
    envelope = save()
    with pytest.raises(AttributeError, match=f"an envelope is never altered, so '{name}'"):
        setattr(envelope, name, "x")
    with pytest.raises(TypeError):
        envelope.tags["region"] = "UK"  # type: ignore[index]  # that is the point


def test_a_handle_shows_what_it_is() -> None:
    envelope = save("ltv", region="<US>")
    assert repr(envelope).startswith(f"<Envelope {envelope.id} ltv 20")
    assert repr(envelope).endswith(" UTC region=<US>>")
    assert "&lt;US&gt;" in envelope._repr_html_()
    assert {envelope, me.get(envelope.id)} == {envelope}
    assert envelope != envelope.id
    assert envelope.created_by == "tester@here"
    assert [parameter.name for parameter in envelope.schema.parameters] == ["x"]


# Metrics


def test_metrics_come_back_as_they_were_logged() -> None:
    envelope = save()
    envelope.log_metrics(loss=0.5, auc=np.float32(0.75), roc=me.Curve(x=[0, 1], y=[0.5, 1]))
    envelope.log_metrics({"top-5": 3}, loss=0.25)
    assert me.get(envelope.id).metrics() == {
        "loss": 0.25,
        "auc": 0.75,
        "roc": me.Curve(x=[0, 1], y=[0.5, 1]),
        "top-5": 3,
    }


def test_a_type_that_this_process_does_not_know_comes_back_as_json_and_goes_on_unchanged() -> None:
    first, second = save(), save()
    spec = {"mark": "bar", "data": {"values": [{"x": 1}]}}
    me.metric_type("gain", plot=lambda gain: spec)(Gain)
    try:
        first.log_metrics(gain=Gain(deciles=[0.5, 1.0]))
        assert me.get(first.id).metrics() == {"gain": Gain(deciles=[0.5, 1.0])}
    finally:
        del METRIC_TYPES["gain"]
    raw = me.get(first.id).metrics()["gain"]
    assert (raw["type"], raw["deciles"], raw["plot"]["mark"]) == ("gain", [0.5, 1.0], "bar")
    second.log_metrics(first.metrics())
    assert second.metrics() == first.metrics()
    assert first.diff(second).metrics == ()
    assert me.metrics_frame(names=["gain"])["gain"].tolist() == [raw, raw]


def test_a_value_about_an_earlier_time_is_not_the_latest() -> None:
    envelope = save()
    envelope.log_metrics(auc=0.9)
    envelope.log_metrics(auc=0.1, at=datetime.now(UTC) - timedelta(days=1))
    assert envelope.metrics() == {"auc": 0.9}
    assert list(me.find("metrics.auc > 0.8")) == [envelope]


def test_one_bad_metric_logs_none() -> None:
    envelope = save()
    with pytest.raises(EnvelopeError, match="metric roc: a str cannot be logged"):
        envelope.log_metrics(auc=0.9, roc="good")
    assert envelope.metrics() == {}


def test_metrics_of_many_envelopes_as_a_frame() -> None:
    for number in range(3):
        save("ltv", number=str(number)).log_metrics(auc=number / 10, loss=1.0)
    save("other").log_metrics(auc=9)
    frame = me.metrics_frame("name = 'ltv'", names=["auc"])
    assert frame.columns.tolist() == ["envelope_id", "name", "created_at", "tags.number", "auc"]
    assert frame["auc"].tolist() == [0.2, 0.1, 0.0]
    assert frame["tags.number"].tolist() == ["2", "1", "0"]
    assert len(me.metrics_frame(number="1", form="history")) == 2
    fields = ["default_function", "tags.number", "hyperparameters.C"]
    frame = me.metrics_frame("name = 'ltv'", names=["auc"], fields=fields)
    assert frame.columns.tolist()[4:] == ["auc", "default_function", "hyperparameters.C"]
    assert frame["default_function"].tolist() == ["double"] * 3
    assert frame["hyperparameters.C"].isna().all()
    frame = me.metrics_frame("name = 'ltv'", form="history", fields=["tags.number"])
    assert frame["tags.number"].tolist() == ["2", "2", "1", "1", "0", "0"]


def test_a_training_job_that_saves_from_many_threads_loses_nothing() -> None:
    save()
    together = threading.Barrier(6)
    saved: list[str] = []

    def run(number: int) -> None:
        together.wait()
        saved.append(save(f"m{number}").id)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {envelope.id for envelope in me.find("name like 'm_%'")} == set(saved)
    assert len(saved) == 6


# Delivery


def test_a_deploy_is_a_wish_that_warns_when_nobody_will_fulfil_it() -> None:
    envelope = save()
    with pytest.warns(NoControllerWarning, match="no controller was ever seen.*envelope up"):
        release = me.deploy(envelope, to="ltv")
    assert (release.deployment, release.envelope_id) == ("ltv", envelope.id)
    assert release.state == "candidate"
    assert "candidate" in repr(release)
    (deployment,) = connect().registry.deployments()
    assert deployment.pin_envelope_id == envelope.id


def beat() -> Connection:
    connection = connect()
    connection.registry.beat("controller", host="here", pid=1)
    return connection


def move_in_a_while(release_id: str, *states: str) -> threading.Thread:
    def run() -> None:
        for state in states:
            connect().registry.move_release(
                release_id, state, reason="the test says so", actor="tester"
            )

    timer = threading.Timer(0.2, run)
    timer.start()
    return timer


def test_waiting_ends_when_the_release_is_live() -> None:
    beat()
    release = me.deploy(save().id[:24], to="ltv")
    timer = move_in_a_while(release.id, "starting", "live")
    assert release.wait(timeout_s=10).state == "live"
    timer.join()


def test_waiting_ends_when_the_release_fails() -> None:
    beat()
    release = me.deploy(save(), to="ltv")
    timer = move_in_a_while(release.id, "starting", "failed")
    with pytest.raises(ClusterError, match="is failed: the test says so; see `envelope explain"):
        release.wait(timeout_s=10)
    timer.join()


def test_waiting_does_not_last_forever() -> None:
    beat()
    release = me.deploy(save(), to="ltv")
    with pytest.raises(ClusterError, match=r"not live after 0\.1 s: it is candidate"):
        release.wait(timeout_s=0.1)


@pytest.mark.parametrize("name", ["LTV", "a--b", ""])
def test_a_deployment_is_named_as_urls_are(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a deployment's name"):
        me.deploy(save(), to=name)


def test_an_unknown_envelope_is_not_deployed() -> None:
    with pytest.raises(ModelNotFound):
        me.deploy("01JD0000000000000000000000", to="ltv")
    assert connect().registry.deployments() == []


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1)], ids=["naive"])
def test_times_without_a_zone_are_refused(moment: datetime) -> None:
    envelope = save()
    with pytest.raises(ConfigError, match="time zone"):
        me.latest(as_of=moment)
    with pytest.raises(ConfigError, match="time zone"):
        envelope.log_metrics(auc=1, at=moment)
    with pytest.raises(ConfigError, match="time zone"):
        me.deploy(envelope, to="ltv", until=moment)


def test_ids_sort_by_time() -> None:
    ids = [save().id for _ in range(3)]
    assert all(len(envelope_id) == 26 for envelope_id in ids)
    assert all(one[:10] <= other[:10] for one, other in itertools.pairwise(ids))
