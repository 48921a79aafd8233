"""Notifications at a real HTTP server that fails, hangs and answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from urllib3.util import Retry

from controller.notify import Notifier, Webhook
from envelope.settings import Settings
from tests.delivery_world import World

QUICK = Retry(total=3, backoff_factor=0.01, status_forcelist=(503,), allowed_methods=None)


@dataclass
class Receiver:
    """statuses: of its next answers; 200 when there are none left."""

    url: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = found.statuses.pop(0) if found.statuses else 200
            if status == 200:
                found.got.append(json.loads(body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/secret"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.open(tmp_path / "registry.db")
    rule = {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}
    world.apply(deployments={"ltv": {}}, rules={"us": rule})
    yield world
    world.registry.close()


def notifier(world: World, receiver: Receiver, folder: Path) -> Notifier:
    webhook = Webhook(url=receiver.url, states=frozenset({"live", "failed"}))
    return Notifier(world.registry, webhook, folder, retry=QUICK)


def test_what_was_chosen_is_told_once(world: World, receiver: Receiver, tmp_path: Path) -> None:
    told = notifier(world, receiver, tmp_path)
    told.catch_up()
    first = world.save(ok="yes")
    world.settle()
    told.catch_up()
    told.catch_up()
    (message,) = receiver.got
    assert message["text"] == f"ltv: {first} is live: answers at its URL"
    assert (message["state"], message["before"]) == ("live", "starting")
    assert (message["deployment"], message["actor"]) == ("ltv", "controller")


def test_the_next_process_goes_on_where_one_ended(
    world: World, receiver: Receiver, tmp_path: Path
) -> None:
    notifier(world, receiver, tmp_path).catch_up()
    world.save(ok="yes")
    world.settle()
    notifier(world, receiver, tmp_path).catch_up()
    notifier(world, receiver, tmp_path).catch_up()
    assert [message["state"] for message in receiver.got] == ["live"]


def test_a_receiver_that_fails_is_told_again(
    world: World, receiver: Receiver, tmp_path: Path
) -> None:
    told = notifier(world, receiver, tmp_path)
    told.catch_up()
    receiver.statuses[:] = [503, 503]
    world.save(ok="yes")
    world.settle()
    told.catch_up()
    assert len(receiver.got) == 1


def test_one_that_refuses_is_given_up_without_its_address_in_the_log(
    world: World, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = notifier(world, receiver, tmp_path)
    told.catch_up()
    receiver.statuses[:] = [503] * 4
    first = world.save(ok="yes")
    world.settle()
    with caplog.at_level(logging.INFO, logger="controller"):
        told.catch_up()
    assert receiver.got == []
    assert "notification given up" in caplog.messages
    assert "secret" not in caplog.text
    second = world.save(ok="yes")
    world.settle()
    told.catch_up()
    assert [message["envelope_id"] for message in receiver.got] == [second], f"not {first} any more"


def test_it_runs_beside_the_loop(world: World, receiver: Receiver, tmp_path: Path) -> None:
    stop = Event()
    told = notifier(world, receiver, tmp_path)
    told.catch_up()
    thread = told.start(stop)
    world.save(ok="yes")
    world.settle()
    for _ in range(100):
        if receiver.got:
            break
        stop.wait(0.1)
    stop.set()
    thread.join(timeout=10)
    assert [message["state"] for message in receiver.got] == ["live"]


def test_settings() -> None:
    read = Settings.read({"ENVELOPE_WEBHOOKS": "https://a.example/x https://b.example/y"})
    assert read.webhooks == ("https://a.example/x", "https://b.example/y")
    assert read.notify_on == ("live", "failed", "held", "rejected", "rolled_back")
    assert Settings.read({"ENVELOPE_NOTIFY_ON": "failed"}).notify_on == ("failed",)
