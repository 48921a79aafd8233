"""A deployment over real HTTP: HAProxy in front, Serve's replicas behind."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from envelope.connection import connect, disconnect
from envelope.manifest import Package
from ray_runtime import apps
from ray_runtime.home import Home
from tests.cluster.conftest import Platform
from tests.cluster.deployments import (
    ROW,
    START_S,
    Deployments,
    replica_pids,
    save,
    times,
    with_another_lock,
)

NAME = "served"


@pytest.fixture
def deployments(ray_only: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployments]:
    for name, value in ray_only.environ.items():
        if name.startswith("ENVELOPE_"):
            monkeypatch.setenv(name, value)
    ray_only.connect()
    yield Deployments(ray_only, connect(ray_only.settings))
    disconnect()


@pytest.fixture
def served(deployments: Deployments) -> Iterator[str]:
    """The id of an envelope that answers as `NAME`; one deployment for the whole module."""
    if "served" not in _saved:
        _saved["served"] = save(times(2.0, slow_s=2.0))
    deployments.run(NAME, _saved["served"], max_body_bytes=1_000_000)
    yield _saved["served"]


_saved: dict[str, str] = {}


def test_answers_with_the_envelope_id(deployments: Deployments, served: str) -> None:
    answer = deployments.query(NAME)
    assert (answer.status_code, answer.json()) == (200, 6.0)
    assert answer.headers["x-envelope-id"] == served
    for path, status in [("", 200), ("/docs", 200), ("/v0/model_info", 200), ("/nope", 404)]:
        found = httpx.get(deployments.url(NAME + path))
        assert (found.status_code, found.headers["x-envelope-id"]) == (status, served), path
    assert httpx.head(deployments.url(NAME)).status_code == 200
    assert httpx.put(deployments.url(NAME)).headers["allow"] == "GET, HEAD"


def test_a_replica_that_answers_gives_way_to_nobody(deployments: Deployments, served: str) -> None:
    (pid,) = replica_pids(NAME)
    threads = [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {os.nice(0)}


def test_the_same_state_applied_again_touches_no_replica(
    deployments: Deployments, served: str
) -> None:
    before = replica_pids(NAME)
    assert len(before) == 1
    again = deployments.spec(NAME, served, max_body_bytes=1_000_000)
    for _ in range(3):
        apps.deploy([again])
        time.sleep(1.0)
    assert replica_pids(NAME) == before
    assert apps.observe()[NAME].status == "running"
    assert apps.observe()[NAME].version == apps.version_of(again)


def test_another_number_of_replicas_restarts_none(deployments: Deployments, served: str) -> None:
    (before,) = replica_pids(NAME)
    deployments.run(NAME, served, max_body_bytes=1_000_000, num_replicas=2)
    deadline = time.monotonic() + START_S
    while len(replica_pids(NAME)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert before in replica_pids(NAME)
    deployments.run(NAME, served, max_body_bytes=1_000_000, num_replicas=1)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    deployments: Deployments, served: str
) -> None:
    port = deployments.platform.settings.serve_port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            f"POST /{NAME}/v0/query HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            f"Content-Length: 200000000\r\n\r\n[".encode()
        )
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        assert b"1,000,000 bytes" in answer.read()


def test_an_endless_body_is_cut_off_with_an_answer(deployments: Deployments, served: str) -> None:
    for _ in range(20):
        status, sent = send_without_end(deployments.platform.settings.serve_port)
        assert status == b"HTTP/1.1 413"
        assert sent < 50_000_000
    assert deployments.query(NAME).status_code == 200


def send_without_end(port: int) -> tuple[bytes, int]:
    """Send a chunked body until an answer comes; return its first bytes, and how much was sent."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            f"POST /{NAME}/v0/query HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0
        while sent < 200_000_000 and not select.select([connection], [], [], 0)[0]:
            try:
                connection.sendall(chunk)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += 65536
        return connection.recv(12), sent


def test_a_client_that_leaves_hurts_nobody(deployments: Deployments, served: str) -> None:
    port = deployments.platform.settings.serve_port
    head = f"POST /{NAME}/v0/query HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    for rest in ("Content-Length: 1000\r\n\r\n[", "Content-Length: 20\r\n\r\n" + json.dumps(ROW)):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall((head + rest).encode())
    assert deployments.query(NAME).json() == 6.0
    assert len(replica_pids(NAME)) == 1


def test_serves_own_proxy_reaches_the_same_application(
    deployments: Deployments, served: str
) -> None:
    record = Home(deployments.platform.settings.home).read_record()
    assert record is not None
    url = f"http://127.0.0.1:{record.inner.fallback_http}/{NAME}"
    answer = httpx.post(f"{url}/v0/query", json=ROW, timeout=30)
    assert (answer.status_code, answer.json()) == (200, 6.0)
    assert answer.headers["x-envelope-id"] == served
    wrong = httpx.post(f"{url}/v0/query", json={"x": 1}, timeout=30)
    assert (wrong.status_code, wrong.json()["faults"][0]["path"]) == (400, "y")


def test_a_request_in_flight_is_answered_by_the_old_one(
    deployments: Deployments, served: str
) -> None:
    """A swap drains: nothing that was accepted is dropped."""
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            answers.append(deployments.query(NAME, {"x": 7.0, "y": 1.0}))

    asking = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in asking:
        thread.start()
    newer = save(times(3.0, slow_s=2.0))
    deployments.run(NAME, newer)
    deadline = time.monotonic() + START_S  # an answer takes seconds here, and they wait in a row
    while newer not in {answer.headers["x-envelope-id"] for answer in list(answers)}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stop.set()
    for thread in asking:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    by_envelope = {answer.headers["x-envelope-id"]: answer.json() for answer in answers}
    assert by_envelope == {served: 16.0, newer: 24.0}


def test_a_start_that_fails_says_why_and_leaves_the_old_one(
    deployments: Deployments, served: str, tmp_path: Path
) -> None:
    needed = tmp_path / "weights"
    needed.write_text("here")
    broken = save(times(5.0, needs_file=str(needed)))
    needed.unlink()
    spec = deployments.spec(NAME, broken)
    apps.deploy([spec])
    app = deployments.wait_until_failed(spec)
    assert "No such file or directory" in app.message
    assert "Traceback" not in app.message
    assert len(app.message.splitlines()) <= 12
    assert deployments.query(NAME).headers["x-envelope-id"] == served

    # The very same, asked for again, is tried again; Serve by itself would leave it failed.
    needed.write_text("back")
    apps.deploy([spec])
    time.sleep(1.0)
    deployments.wait_until_live(spec)
    assert deployments.query(NAME).json() == 15.0


def test_an_environment_that_cannot_be_built_says_why(
    deployments: Deployments, served: str
) -> None:
    unbuildable = with_another_lock(served, Package(name="lark", version="99.0.0"))
    spec = deployments.spec(NAME, unbuildable)
    apps.deploy([spec])
    app = deployments.wait_until_failed(spec)
    assert "lark" in app.message and "99.0.0" in app.message
    assert "Traceback" not in app.message
    assert deployments.query(NAME).status_code == 200


def test_deleting_ends_it(deployments: Deployments, served: str) -> None:
    apps.delete([NAME, "never-there"])
    deadline = time.monotonic() + START_S
    while NAME in apps.observe() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert NAME not in apps.observe()
    assert httpx.get(deployments.url(NAME)).status_code == 404
    assert apps.answering(deployments.platform.serve_url, NAME) is None


def test_versions_name_what_decides_a_replica(deployments: Deployments) -> None:
    base = deployments.spec(NAME, save(times(1.0)))

    def changed(**changes: Any) -> str:
        return apps.version_of(replace(base, **changes))

    assert apps.version_of(base) == changed(release_id="another")
    quicker = base.config.model_copy(update={"timeout_s": 1.0})
    different = [
        changed(envelope_id="other"),
        changed(function_hashes={"predict": "other"}),
        changed(runtime_env={"envelope": {"key": "other", "store": "s"}}),
        changed(config=quicker),
    ]
    assert len({apps.version_of(base), *different}) == 5
