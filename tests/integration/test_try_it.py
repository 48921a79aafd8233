"""The try-it form: a real replica is asked through the server of the pages."""

from __future__ import annotations

import asyncio
import html
import re
import socket
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from controller.server import serving
from controller.web.asking import ask
from envelope.connection import disconnect
from envelope.handle import Envelope
from ray_runtime.ports import free_ports
from tests.pages import DEPLOYMENT, Filled, fill
from tests.served import served
from tests.unit.runtime.conftest import options_for


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("try")))
        patch.setenv("ENVELOPE_ACTOR", "ann")
        yield fill()
    disconnect()


def model(filled: Filled) -> Envelope:
    """The one that is live."""
    return Envelope(filled.connection, filled.connection.registry.envelope(filled.ids[2]))


@pytest.fixture(scope="module")
def client(filled: Filled) -> Iterator[httpx.Client]:
    (port,) = free_ports(1)
    url = f"http://localhost:{port}"
    options = options_for(model(filled), deployment=DEPLOYMENT)
    with served(options) as replica:
        settings = replace(filled.connection.settings, api_port=port, serve_port=replica.port)
        with (
            serving(replace(filled.connection, settings=settings)),
            httpx.Client(base_url=url, timeout=60, headers={"origin": url}) as client,
        ):
            yield client


def test_the_live_model_is_asked_and_answers(client: httpx.Client, filled: Filled) -> None:
    page = client.get(f"/models/{filled.ids[2]}/online").text
    sent = dict(re.findall(r'name="(v\d+|to|function)" value="([^"]*)"', page))
    sent = {name: html.unescape(value) for name, value in sent.items()}
    assert sent | {"function": ""} == {
        "function": "",
        "to": DEPLOYMENT,
        "v0": "20",
        "v1": "US",
        "v2": "0.0",
    }
    text = client.post(f"/models/{filled.ids[2]}/try", data={**sent, "v2": "10"}).text
    assert '<pre tabindex="0">30.0</pre>' in text
    assert f'answered by <a href="/models/{filled.ids[2]}">' in text
    assert re.search(r"client_ltv, \d+\.\d ms", text)
    assert 'value="10"' in text  # what was typed is still there


def test_what_does_not_fit_is_told_at_its_field(client: httpx.Client, filled: Filled) -> None:
    path = f"/models/{filled.ids[2]}/try"
    name = model(filled).manifest.default_function
    sent = {"function": name, "to": DEPLOYMENT, "v0": "old", "v1": "US", "v2": ""}
    text = client.post(path, data=sent).text
    assert '<p class="wrong" id="e-v0">expected int64, got str</p>' in text
    assert "400 The input does not fit the function" in html.unescape(text)
    assert 'value="old"' in text


def test_what_is_not_live_is_not_asked(client: httpx.Client, filled: Filled) -> None:
    for envelope_id, to, status in [
        (filled.ids[0], DEPLOYMENT, 409),
        (filled.ids[2], "elsewhere", 409),
        (filled.ids[2], "", 409),
        ("NOPE", DEPLOYMENT, 404),
    ]:
        sent = {"function": "predict_ltv", "to": to}
        assert client.post(f"/models/{envelope_id}/try", data=sent).status_code == status
    sent = {"function": "no_such", "to": DEPLOYMENT}
    assert client.post(f"/models/{filled.ids[2]}/try", data=sent).status_code == 404
    assert "Try it" not in client.get(f"/models/{filled.ids[0]}/online").text


def test_one_waits_only_so_long_and_is_told_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = asyncio.run(ask(url, {}, timeout_s=0.2))
    assert "did not answer within 0.2 s" in answer.words
    assert 200 <= answer.took_ms < 5000
    gone = asyncio.run(ask(url, {}))
    assert "cannot be reached" in gone.words and "envelope status" in gone.words
