"""The registry's API as callers of any language meet it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import envelope as me
from envelope.connection import connect
from envelope.errors import ConfigError, EnvelopeError, IntegrityError, StorageError
from envelope.folder import Folder
from envelope.manifest import sha256_of
from envelope.store import Store, blob_path
from tests.registry_server import RegistryServer

pytestmark = pytest.mark.usefixtures("by_value")


def double(x: float) -> float:
    return 2 * x


def save(**tags: str) -> me.Envelope:
    return me.save_model(name="m", query_function=double, api_input=1.0, tags=tags)


def adding(number: int) -> Callable[[float], float]:
    return lambda x: x + number


@pytest.fixture
def url(server_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ENVELOPE_REGISTRY", server_url)
    return server_url


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{url}/api/v1", trust_env=False) as client:
        yield client


@pytest.fixture
def folder(server: RegistryServer, url: str) -> Path:
    """What the server keeps."""
    return server.folder / url.rpartition("/")[2]


def kept(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# Lists, tags, errors


def test_the_environment_of_the_server_is_nobodys_to_read(api: httpx.Client) -> None:
    job = {"query": "", "input": {"path": "s3://w/$PATH"}, "output": {"path": "~/out"}}
    sent = {"state": {"batch_jobs": {"j": job}}, "rest": "keep"}
    answer = api.post("/state", json=sent)
    assert answer.status_code == 200, answer.text
    (row,) = api.get("/batch-jobs").json()
    assert row["config"]["input"]["path"] == "s3://w/$PATH"
    assert row["config"]["output"]["path"] == "~/out"


def test_a_list_is_read_page_by_page(api: httpx.Client) -> None:
    ids = [save(n=str(number)).id for number in range(3)][::-1]
    first = api.get("/envelopes", params={"limit": 2}).json()
    assert [row["id"] for row in first["items"]] == ids[:2]
    save()  # what comes meanwhile moves nothing
    rest = api.get("/envelopes", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [row["id"] for row in rest["items"]] == ids[2:]
    assert rest["next_cursor"] is None


def test_more_than_a_page_is_found_and_measured(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("envelope.remote.registry.FIRST_PAGE", 1)
    monkeypatch.setattr("envelope.remote.registry.PAGE", 2)
    ids = [save().id for _ in range(4)][::-1]
    assert [envelope.id for envelope in me.find()] == ids
    assert [row.id for row in connect().registry.find(limit=2)] == ids[:2]


def test_what_the_caller_has_is_not_sent_again(api: httpx.Client) -> None:
    envelope = save()
    for path in (f"/envelopes/{envelope.id}", f"/envelopes/{envelope.id}/manifest"):
        answer = api.get(path)
        again = api.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (answer.status_code, again.status_code, again.content) == (200, 304, b"")
    assert "immutable" in api.get(f"/envelopes/{envelope.id}/manifest").headers["Cache-Control"]


def test_long_answers_are_compressed_for_who_can_read_it(api: httpx.Client) -> None:
    path = f"/envelopes/{save().id}/manifest"
    packed = api.get(path, headers={"Accept-Encoding": "gzip"})
    plain = api.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "words"),
    [
        pytest.param("GET", "/envelopes/0000", None, 404, "there is no envelope 0000", id="id"),
        pytest.param("GET", "/envelopes?query=tags.x+%3D", None, 400, "column 9", id="query"),
        pytest.param("GET", "/envelopes?querry=x", None, 422, "querry", id="unknown-parameter"),
        pytest.param("GET", "/envelopes?limit=0", None, 422, "from 1 to 1000", id="limit"),
        pytest.param("GET", "/envelopes?cursor=x", None, 422, "no cursor", id="cursor"),
        pytest.param("GET", "/changes?after=" + "9" * 30, None, 422, "64 bits", id="big-number"),
        pytest.param("GET", "/releases/x", None, 404, "there is no release 'x'", id="release"),
        pytest.param("POST", "/state", {"stat": {}}, 422, "stat", id="unknown-member"),
        pytest.param(
            "POST",
            "/state",
            {"state": {"deployments": {"ltv": {"replicas": 1}}}},
            422,
            "deployments.ltv.replicas: unknown key",
            id="unknown-key-of-yaml",
        ),
        pytest.param("POST", "/state", {"state": {"deployments": {"LTV": {}}}}, 422, "LTV", id="n"),
        pytest.param("GET", "/nothing", None, 404, "openapi.json lists", id="no-route"),
        pytest.param("DELETE", "/rules", None, 405, "openapi.json lists", id="no-method"),
        pytest.param("GET", "/blobs/x", None, 404, "no SHA-256", id="no-blob"),
        pytest.param("GET", "/documents/blobs/x", None, 404, "own routes", id="no-document"),
    ],
)
def test_an_error_says_what_and_where(
    api: httpx.Client, verb: str, path: str, body: Any, status: int, words: str
) -> None:
    answer = api.request(verb, path, json=body)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_a_server_that_is_away_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    monkeypatch.setenv("ENVELOPE_REGISTRY", f"http://127.0.0.1:{port}")
    with pytest.raises(StorageError, match=r"cannot be reached.*refused; check that the server"):
        me.get("0000")


def test_a_server_that_is_another_is_a_config_error(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    monkeypatch.setenv("ENVELOPE_REGISTRY", s3_endpoint)
    with pytest.raises(EnvelopeError, match=r"is no registry server|answered: 40"):
        me.get("0000")


@pytest.mark.parametrize("address", ["http://", "https://host:port", "http://host:99999"])
def test_an_address_that_is_none_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVELOPE_REGISTRY", address)
    with pytest.raises(ConfigError, match="no address of a registry server"):
        me.get("0000")


# Bytes


def test_a_laptop_keeps_nothing_and_needs_no_store(home: Path, url: str, folder: Path) -> None:
    envelope = save()
    assert not home.exists()
    assert f"store/envelopes/{envelope.id}/manifest.json" in kept(folder)


def packed(data: bytes, tmp_path: Path) -> tuple[str, bytes]:
    """A blob's name, and its bytes as a store holds them."""
    near = Store(str(tmp_path / "near"))
    sha256 = near.put_blob(data).sha256
    return sha256, near.folder.read(blob_path(sha256))


def test_a_blob_that_is_cut_short_at_any_byte_leaves_nothing(
    server: RegistryServer, url: str, folder: Path, tmp_path: Path
) -> None:
    sha256, body = packed(os.urandom(300), tmp_path)
    head = (
        f"PUT /{folder.name}/api/v1/blobs/{sha256} HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    whole = head + body
    for end in range(len(whole)):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(whole[:end])
    gone = time.monotonic() + 10
    while any("blobs" in name or ".tmp" in name for name in kept(folder)):
        assert time.monotonic() < gone, kept(folder)
        time.sleep(0.05)
    assert httpx.put(f"{url}/api/v1/blobs/{sha256}", content=body).status_code == 204
    assert Store(url).get_blob(sha256)


@pytest.mark.parametrize("damage", ["another", "no zstd", "longer", "empty"])
def test_a_blob_that_is_not_what_its_name_says_is_refused(
    damage: str, api: httpx.Client, folder: Path, tmp_path: Path
) -> None:
    sha256, body = packed(b"a model", tmp_path)
    sent = {
        "another": packed(b"another", tmp_path)[1],
        "no zstd": b"plain bytes",
        "longer": body + packed(b"more", tmp_path)[1],
        "empty": b"",
    }[damage]
    answer = api.put(f"/blobs/{sha256}", content=sent)
    assert answer.status_code == 422, answer.text
    assert not any("blobs" in name or ".tmp" in name for name in kept(folder))


def test_an_interrupted_save_leaves_no_envelope(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requests of a save get through, what is found is nothing or all."""
    save()  # what is loaded at a first save is loaded
    real = http.client.HTTPConnection.request
    sent, limit = 0, 0

    def request(self: Any, verb: str, *args: Any, **kwargs: Any) -> None:
        nonlocal sent
        sent += verb in ("PUT", "POST")
        if sent > limit:
            raise ConnectionAbortedError("the laptop's lid was closed")
        real(self, verb, *args, **kwargs)

    registered = 1
    for limit in range(20):
        sent = 0
        monkeypatch.setattr(http.client.HTTPConnection, "request", request)
        try:
            me.save_model(name=f"m{limit}", query_function=adding(limit), api_input=1.0)
        except StorageError as exc:
            assert "lid was closed" in str(exc)
        else:
            registered += 1
        finally:
            monkeypatch.undo()
            monkeypatch.setenv("ENVELOPE_REGISTRY", url)
            monkeypatch.setenv("ENVELOPE_HOME", str(folder / "laptop"))
        found = list(me.find())
        assert len(found) == registered
        if registered == 2:
            assert found[0].query(1.0) == 1.0 + limit
            return
    raise AssertionError("no save got through")


def test_a_manifest_whose_parts_are_missing_is_refused(api: httpx.Client) -> None:
    envelope = save()
    manifest = json.loads(api.get(f"/envelopes/{envelope.id}/manifest").content)
    manifest["artifact"]["blobs"] = [{"sha256": "a" * 64, "size_bytes": 1}]
    manifest["id"] = other = envelope.id[:-4] + "0000"
    for name, sha256 in manifest["functions"].items():
        function = api.get(f"/envelopes/{envelope.id}/functions/{name}").content
        assert sha256_of(function) == sha256
        assert api.put(f"/envelopes/{other}/functions/{name}", content=function).is_success
    answer = api.put(f"/envelopes/{other}/manifest", json=manifest)
    assert (answer.status_code, "send it first" in answer.text) == (422, True)
    record = {"id": other, "manifest_sha256": "b" * 64}
    assert api.post("/envelopes", json=record).status_code == 404


def test_nothing_is_written_over(api: httpx.Client) -> None:
    envelope = save()
    manifest = json.loads(api.get(f"/envelopes/{envelope.id}/manifest").content)
    answer = api.put(f"/envelopes/{envelope.id}/manifest", json={**manifest, "name": "mine"})
    assert (answer.status_code, "never altered" in answer.text) == (409, True)
    function = json.loads(api.get(f"/envelopes/{envelope.id}/functions/double").content)
    changed = {**function, "description": "mine"}
    answer = api.put(f"/envelopes/{envelope.id}/functions/double", json=changed)
    assert (answer.status_code, "never altered" in answer.text) == (409, True)
    assert me.get(envelope.id).query(2.0) == 4.0


def test_a_store_that_is_not_the_servers_is_noticed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVELOPE_STORE", str(tmp_path / "mine"))
    with pytest.raises(EnvelopeError, match=r"holds no envelope .*; check ENVELOPE_STORE"):
        save()
    assert list(me.find()) == []


def test_damage_in_the_servers_store_is_noticed_here(url: str, folder: Path) -> None:
    envelope = save()
    blob = envelope.manifest.artifact.blobs[0]
    store = Folder(str(folder / "store"))
    store.write(blob_path(blob.sha256), packed(b"another", folder)[1])
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        me.get(envelope.id).query(1.0)
