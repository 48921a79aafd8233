"""The pages over a real registry, without a browser: what they say, refuse and change."""

from __future__ import annotations

import html
import io
import re
import socket
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pandas as pd
import pytest

from controller.demo import worth_a_look
from controller.server import serving
from envelope.config import DesiredState
from envelope.connection import connect, disconnect
from envelope.metrics import frame_of_metrics
from envelope.registry import ArmCounts, Registry
from envelope.settings import Settings
from ray_runtime.ports import free_ports
from tests.pages import DEPLOYMENT, HOSTILE, Filled, fill


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("pages")))
        patch.setenv("ENVELOPE_ACTOR", "ann")
        yield fill()
    disconnect()


@pytest.fixture
def registry(filled: Filled) -> Registry:
    return filled.connection.registry


@pytest.fixture(scope="module")
def client(filled: Filled) -> Iterator[httpx.Client]:
    (port,) = free_ports(1)
    settings = replace(filled.connection.settings, api_port=port)
    with (
        serving(replace(filled.connection, settings=settings)),
        httpx.Client(base_url=f"http://localhost:{port}", timeout=30) as client,
    ):
        yield client


def origin_of(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


def post(client: httpx.Client, path: str, **form: str) -> str:
    """Send a form as our own page does, and return where it leads."""
    answer = client.post(path, data=form, headers={"origin": origin_of(client)})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


PAGES = [
    ("/models", "client_ltv"),
    ("/models?q=tags.region+%3D+%27UK%27", "client_ltv"),
    ("/models?columns=metrics.auc,hyperparameters.weight,tags.region,functions", "0.76"),
    ("/models/{id}", "Predict"),
    ("/models/{id}/metrics", "losses"),
    ("/models/{other}/metrics", "confusion as a table"),
    ("/models/{id}/online", "Deploy"),
    ("/models/{id}/environment", "pandas=="),
    ("/diff?id={id}&id={other}", "hyperparameters"),
    ("/deployments", DEPLOYMENT),
    (f"/deployments/{DEPLOYMENT}", "rule us"),
    ("/rules", "tags.region"),
    ("/rules?q=tags.region+%3D+%27US%27", "Would have been wanted"),
    ("/metrics?by=region", "auc over time"),
    ("/metrics/scatter?x=hyperparameters.weight&y=auc&by=region", "metrics.auc against"),
    ("/metrics/scatter?x=auc&y=nothing", "No model has both"),
    ("/metrics/scatter", "hyperparameters.weight"),
    ("/metrics/statistics", "input.income over time"),
    ("/metrics/statistics?columns=output.value&moments=max&by=region", "output.value over time"),
    ("/metrics/statistics?function=none", "Nothing of these columns was captured"),
    ("/metrics/compare", "gain of several models"),
    ("/metrics/compare?id={id}&id={other}&name=losses&by=region", "losses of several models"),
    ("/metrics/compare?name=confusion", "as a table"),
    ("/metrics/compare?name=auc", "drawn <a href"),
    ("/batch-jobs", "envelope batch submit"),
    ("/audit", "canonical_name"),
    ("/audit?kind=rule&actor=ann", "tags.region"),
]


@pytest.mark.parametrize(("path", "says"), PAGES, ids=[path for path, _ in PAGES])
def test_each_page_shows_and_escapes(
    client: httpx.Client, filled: Filled, path: str, says: str
) -> None:
    answer = client.get(path.format(id=filled.ids[3], other=filled.ids[0]))
    assert answer.status_code == 200, answer.text
    assert says.lower() in answer.text.lower()
    assert HOSTILE not in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]


FAULTS = [
    ("/models?q=tags.region+%3D", 200, "column 14"),
    ("/models?q=tags.region+%3D+%27", 200, "column 15"),
    ("/models/NOPE", 404, "NOPE"),
    ("/deployments/none", 400, "there are: client_ltv"),
    ("/diff?id=1", 400, "choose two models"),
    ("/rules?q=%3D", 200, "column 1"),
    ("/metrics?q=tags.+%3D", 200, "column"),
    ("/metrics/scatter?q=tags.+%3D&x=auc&y=auc", 200, "column"),
    ("/metrics/scatter?x=hyperparameters&y=auc", 200, "needs a name below it"),
    ("/metrics/compare?q=tags.+%3D", 200, "column"),
    ("/metrics/compare?id=NOPE", 404, "NOPE"),
    ("/nothing", 404, "Not Found"),
    ("/audit?before=x", 400, "no number of a change"),
    ("/audit?kind=nothing", 200, "No such change"),
    ("/audit?actor=%00", 400, "NUL"),
]


@pytest.mark.parametrize(("path", "status", "says"), FAULTS, ids=[path for path, *_ in FAULTS])
def test_a_fault_is_told_on_a_page(client: httpx.Client, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert says in answer.text
    assert "Traceback" not in answer.text


def test_pages_of_a_search_hold_every_model_once(
    client: httpx.Client, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.web.models.PAGE_ROWS", 1)
    path, seen = "/models?q=ltv", []
    while path:
        text = client.get(path).text
        seen += re.findall(r'name="id" value="(\w+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == list(reversed(filled.ids))


def test_pages_of_the_audit_hold_every_change_once_with_old_and_new_value(
    client: httpx.Client, filled: Filled, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.set_tags(filled.ids[1], {"audited": "<no>"}, actor="eve")
    registry.set_tags(filled.ids[1], {"audited": None}, actor="eve")
    monkeypatch.setattr("controller.web.audit.PAGE_ROWS", 7)
    path, seen = "/audit", []
    while path:
        text = client.get(path).text
        seen += [int(one) for one in re.findall(r"<tr><td>(\d+)</td>", text)]
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == list(range(registry.last_change(), 0, -1))
    text = client.get("/audit?actor=eve&kind=tag").text
    cells = [re.sub(r"<[^>]+>", "", one) for one in re.findall(r"<div>(audited.*?)</div>", text)]
    assert cells == ["audited: &lt;no&gt; → none", "audited: none → &lt;no&gt;"]


def test_the_search_bar_completes_tags(client: httpx.Client) -> None:
    text = client.get("/models").text
    offered = [html.unescape(one) for one in re.findall(r'<option value="([^"]+)"', text)]
    assert "tags.region = 'UK'" in offered
    found = client.get("/models", params={"q": "tags.region = 'UK'"}).text
    assert "(tags.region = &#39;UK&#39;) and tags.canonical_name" in found


def test_metrics_as_csv_are_those_of_the_chart(client: httpx.Client, filled: Filled) -> None:
    lines = client.get("/metrics.csv?q=tags.region+%3D+%27US%27&names=auc&by=region").text.split()
    assert lines[0] == "metric,at,value,series,envelope_id,model"
    found = [line.split(",") for line in lines[1:]]
    assert [(one[2], one[3], one[4]) for one in found] == [
        ("0.7", "US", filled.ids[0]),
        ("0.72", "US", filled.ids[1]),
        ("0.74", "US", filled.ids[2]),
    ]


def test_metrics_as_parquet_are_those_of_the_frame(
    client: httpx.Client, filled: Filled, registry: Registry
) -> None:
    answer = client.get("/metrics.parquet?names=auc,losses&by=region")
    found = pd.read_parquet(io.BytesIO(answer.content))
    rows = registry.find()
    points = registry.metric_points("", ["auc"])
    frame = frame_of_metrics(rows, points, ["auc"], "history").sort_values("at")
    assert found["value"].tolist() == frame["value"].tolist()
    assert found["envelope_id"].tolist() == frame["envelope_id"].tolist() == list(filled.ids)
    assert found["at"].tolist() == frame["at"].tolist()
    assert found["series"].tolist() == ["US", "US", "US", "UK"]
    assert client.get("/metrics.xlsx").status_code == 404


def test_what_is_drawn_against_another_as_a_file(client: httpx.Client, filled: Filled) -> None:
    path = "/metrics/scatter.{}?x=hyperparameters.weight&y=tags.region&q=tags.region+%3D+'UK'"
    lines = client.get(path.format("csv")).text.splitlines()
    wanted = f"{filled.ids[3]},client_ltv,client_ltv,4.0,UK"
    assert lines == ["envelope_id,model,series,hyperparameters.weight,tags.region", wanted]
    found = pd.read_parquet(io.BytesIO(client.get(path.format("parquet")).content))
    assert found.to_csv(index=False).splitlines() == lines
    assert client.get("/metrics/scatter.csv?x=tags&y=auc").status_code == 400


def test_statistics_of_what_was_captured_as_a_file(client: httpx.Client, filled: Filled) -> None:
    path = "/metrics/statistics.csv?columns=output.value,input.region&moments=max,levels&by=region"
    lines = client.get(path).text.splitlines()
    assert lines[0] == "column,at,value,series,envelope_id,model"
    assert len(lines) == 1 + 4 * 3  # of four models a maximum and two levels
    frame = pd.read_parquet(io.BytesIO(client.get(path.replace("csv", "parquet", 1)).content))
    largest = frame[frame["series"].str.endswith("max")]
    assert largest["value"].tolist() == [58.5, 117.0, 175.5, 234.0]
    assert largest["series"].tolist() == ["US, max"] * 3 + ["UK, max"]
    assert largest["envelope_id"].tolist() == list(filled.ids)
    shares = frame[frame["series"].str.endswith("is US")]
    assert shares["value"].tolist() == [0.5] * 4


def test_tags_are_set_and_removed(client: httpx.Client, filled: Filled, registry: Registry) -> None:
    path = f"/models/{filled.ids[0]}/tags"
    assert post(client, path, key="passes_tests", value="true") == f"/models/{filled.ids[0]}"
    assert registry.envelope(filled.ids[0]).tags["passes_tests"] == "true"
    post(client, path, key="passes_tests", remove="1")
    assert "passes_tests" not in registry.envelope(filled.ids[0]).tags
    assert {one.actor for one in registry.tag_history(filled.ids[0])} == {"ann"}


def test_deploy_pin_rollback_and_allow(
    client: httpx.Client, filled: Filled, registry: Registry
) -> None:
    page = f"/deployments/{DEPLOYMENT}"
    assert post(client, f"/models/{filled.ids[0]}/deploy", to=DEPLOYMENT) == page
    (row,) = registry.deployments()
    assert (row.pin_envelope_id, row.pinned_by) == (filled.ids[0], "ann")
    post(client, f"{page}/unpin")
    assert registry.deployments()[0].pin_envelope_id is None

    post(client, f"{page}/rollback", reason="wrong numbers")
    (excluded,) = registry.exclusions(DEPLOYMENT)
    assert (excluded.envelope_id, excluded.back_to) == (filled.ids[2], filled.ids[1])
    assert "wrong numbers" in client.get(page).text
    post(client, f"{page}/allow", envelope_id=filled.ids[2])
    assert registry.exclusions(DEPLOYMENT) == []


def test_an_experiment_shows_both_arms_and_is_ended(
    client: httpx.Client, filled: Filled, registry: Registry
) -> None:
    sticky = {"header": "X-User-Id"}
    rollout = {"strategy": "experiment", "share": 30, "sticky": sticky}
    state = {"deployments": {DEPLOYMENT: {"rollout": rollout}}}
    registry.apply_state(DesiredState.model_validate(state), actor="ann")
    challenger = filled.ids[1]
    release = registry.create_release(
        deployment=DEPLOYMENT,
        envelope_id=challenger,
        rule=None,
        rule_version=None,
        config_version=registry.deployments()[0].config_version,
        actor="controller",
        reason="x",
        state="gated",
    )
    page = f"/deployments/{DEPLOYMENT}"
    for step in (None, 0):
        registry.move_release(release.id, "experiment", reason="x", actor="controller", step=step)
    times = (0, 0, 90, *(0,) * 44, 10, *(0,) * 14)
    counts = ArmCounts(arm="challenger", requests=101, failed=1, times=times)
    registry.record_arms(release.id, "one", [counts])
    text = client.get(page).text
    assert "30 % by header X-User-Id" in text
    row = text[text.index('<th scope="row">challenger') :].split("</tr>")[0]
    assert re.findall(r"<td>([^<]*)</td>", row) == ["101", "1", "0.156 ms", "3.59 s"]
    assert challenger in row

    post(client, f"{page}/end-experiment", winner="champion", reason="fewer orders")
    (excluded,) = registry.exclusions(DEPLOYMENT)
    assert (excluded.envelope_id, excluded.actor) == (challenger, "ann")
    assert "fewer orders" in excluded.reason
    registry.move_release(release.id, "rolled_back", reason="it lost", actor="ann")
    assert "The challenger wins" in text
    assert "The challenger wins" not in client.get(page).text, "it has ended"
    post(client, f"{page}/allow", envelope_id=challenger)
    state["deployments"] = {DEPLOYMENT: {}}
    registry.apply_state(DesiredState.model_validate(state), actor="ann")


def test_a_wrong_form_changes_nothing(client: httpx.Client, filled: Filled) -> None:
    origin = {"origin": origin_of(client)}
    for path, form, says in [
        (f"/models/{filled.ids[0]}/deploy", {"to": "No Such Name"}, "No Such Name"),
        (f"/models/{filled.ids[0]}/tags", {"key": ""}, "key"),
        (f"/deployments/{DEPLOYMENT}/explode", {}, "explode"),
        (f"/deployments/{DEPLOYMENT}/rollback", {"to": "nothing"}, "nothing"),
        (f"/deployments/{DEPLOYMENT}/end-experiment", {"winner": "me"}, "winner"),
        (f"/deployments/{DEPLOYMENT}/end-experiment", {"winner": "champion"}, "no experiment"),
    ]:
        answer = client.post(path, data=form, headers=origin)
        assert answer.status_code in (400, 404), path
        assert says in answer.text, path
    too_large = client.post("/models/x/tags", content=b"k=" + b"x" * 100_000, headers=origin)
    assert too_large.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-origin"),
        pytest.param({"origin": "https://elsewhere.example"}, id="another-site"),
        pytest.param({"origin": "null"}, id="a-sandboxed-frame"),
        pytest.param({"origin": "http://localhost:9999"}, id="another-port"),
    ],
)
def test_another_site_changes_nothing(
    client: httpx.Client, filled: Filled, registry: Registry, headers: dict[str, str]
) -> None:
    before = registry.last_change()
    path = f"/models/{filled.ids[0]}/tags"
    answer = client.post(path, data={"key": "a", "value": "b"}, headers=headers)
    assert answer.status_code == 403
    assert registry.last_change() == before


def test_a_name_elsewhere_that_leads_here_reads_nothing(client: httpx.Client) -> None:
    assert client.get("/models", headers={"host": "rebound.example"}).status_code == 403


def test_a_port_that_is_taken_leaves_the_controller_without_pages(filled: Filled) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = replace(filled.connection.settings, api_port=port)
        with serving(replace(filled.connection, settings=settings)) as served:
            assert served is None


def test_the_server_ends_with_the_block(filled: Filled) -> None:
    (port,) = free_ports(1)
    settings = replace(filled.connection.settings, api_port=port)
    with serving(replace(filled.connection, settings=settings)):
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=20)


def test_the_demo_ends_with_pages_that_are_there(client: httpx.Client, filled: Filled) -> None:
    addresses = worth_a_look(origin_of(client), filled.ids[0], filled.ids[1])
    del addresses["what is live"]  # the demo's deployment is not here
    assert {what: httpx.get(address).status_code for what, address in addresses.items()} == (
        dict.fromkeys(addresses, 200)
    )


def test_the_api_is_served_beside_the_pages(client: httpx.Client, filled: Filled) -> None:
    settings = Settings.read({"ENVELOPE_REGISTRY": origin_of(client)})
    connection = connect(settings)
    assert [row.id for row in connection.registry.find()] == list(reversed(filled.ids))
    refused = client.post("/api/v1/envelopes", headers={"origin": "https://elsewhere.example"})
    assert refused.status_code == 403
