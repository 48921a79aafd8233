"""Who may do what through a server that asks for tokens, with a real database behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from controller.access import ROLES, guarded, requests_of, role_for
from controller.api.app import build_api
from controller.server import serving
from controller.sessions import MAX_FAILURES, Sessions
from controller.web.app import build_pages
from envelope.connection import Connection, connect, disconnect
from envelope.errors import ConfigError
from envelope.registry import Role
from envelope.registry.tokens import ROLES as ALL_ROLES
from envelope.registry.tokens import allows
from envelope.remote.client import Client
from envelope.remote.problems import NotAllowed, NotAuthenticated
from envelope.remote.registry import RemoteRegistry
from envelope.settings import Settings
from ray_runtime.ports import free_ports
from tests.pages import DEPLOYMENT, fill


@pytest.fixture
def connection(registry_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setenv("ENVELOPE_REGISTRY", registry_url)
    monkeypatch.setenv("ENVELOPE_AUTH", "tokens")
    (port,) = free_ports(1)
    yield connect(replace(Settings.read(), api_port=port))
    disconnect()


@pytest.fixture
def secrets(connection: Connection) -> Mapping[Role, str]:
    return {
        role: connection.registry.create_token(f"{role}-ann", role, actor="root").secret
        for role in ALL_ROLES
    }


@pytest.fixture
def client(connection: Connection) -> Iterator[httpx.Client]:
    url = f"http://localhost:{connection.settings.api_port}"
    with serving(connection) as port, httpx.Client(base_url=url, timeout=30) as client:
        assert port == connection.settings.api_port
        yield client


def routes_of(connection: Connection) -> list[tuple[str, str]]:
    pages = build_pages(connection, Sessions())
    return list(requests_of([Mount("/api/v1", app=build_api(connection)), Mount("/", app=pages)]))


def test_each_route_is_open_to_its_role_and_those_above_it(
    connection: Connection, client: httpx.Client, secrets: Mapping[Role, str]
) -> None:
    """A viewer can do nothing but look. Routes and roles agree, none is left over."""
    routes = routes_of(connection)
    assert set(routes) == set(ROLES)
    origin = {"origin": str(client.base_url).rstrip("/")}
    for verb, path in routes:
        needed = ROLES[verb, path]
        target = path.replace("{path:path}", "x").replace("{", "").replace("}", "")
        if needed is None:
            assert client.request(verb, target, headers=origin).status_code != 403, (verb, path)
            continue
        assert needed != "viewer" or verb == "GET", (verb, path)
        if path == "/api/v1/changes/wait":
            target += "?after=0&timeout_s=0"
        asked = client.request(verb, target, headers=origin)
        is_page = not path.startswith("/api/")
        assert asked.status_code == (303 if is_page and verb == "GET" else 401), (verb, path)
        for role in ALL_ROLES:
            sent = origin | {"authorization": f"Bearer {secrets[role]}"}
            answer = client.request(verb, target, headers=sent)
            is_open = answer.status_code not in (401, 403)
            assert is_open == allows(role, needed), (role, verb, path, answer.text)


def test_a_route_without_a_role_keeps_the_server_from_starting() -> None:
    app = Starlette(routes=[Route("/new", lambda request: None, methods=["POST"])])
    with pytest.raises(ConfigError, match="no role is known for POST /new"):
        guarded(app.routes, ROLES)


def test_the_sdk_sends_its_token_and_the_holder_is_the_actor(
    connection: Connection, client: httpx.Client, secrets: Mapping[Role, str]
) -> None:
    url = str(client.base_url)
    with pytest.raises(NotAuthenticated, match="set ENVELOPE_TOKEN"):
        RemoteRegistry(Client(url)).last_change()
    viewer = RemoteRegistry(Client(url, token=secrets["viewer"]))
    assert viewer.last_change() == len(ALL_ROLES)
    with pytest.raises(NotAllowed, match=r"viewer-ann is viewer here, and PUT .* needs the role"):
        viewer.pause_all("stop", actor="somebody else")
    admin = RemoteRegistry(Client(url, token=secrets["admin"]))
    admin.pause_all("stop", actor="somebody else")
    made = admin.create_token("bob", "author", actor="somebody else")
    noted = connection.registry.changes(len(ALL_ROLES))
    assert [(each.kind, each.actor) for each in noted] == [
        ("rule", "admin-ann"),
        ("token", "admin-ann"),
    ]
    assert noted[1].detail == {"holder": "bob", "role": [None, "author"]}
    bob = RemoteRegistry(Client(url, token=made.secret))
    assert bob.last_change() == len(ALL_ROLES) + 2
    admin.revoke_token(made.token.id, actor="x")
    with pytest.raises(NotAuthenticated):
        bob.last_change()
    assert made.secret not in repr(admin.tokens())


def test_one_signs_in_with_a_token_and_out_again(
    connection: Connection, client: httpx.Client, secrets: Mapping[Role, str]
) -> None:
    origin = {"origin": str(client.base_url).rstrip("/")}
    assert client.get("/rules?q=1").headers["location"] == "/login?next=%2Frules%3Fq%3D1"
    form = {"token": secrets["deployer"], "next": "//elsewhere.example"}
    assert client.post("/login", data=form).status_code == 403  # no Origin: no page of ours
    answer = client.post("/login", data=form, headers=origin)
    assert (answer.status_code, answer.headers["location"]) == (303, "/models")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert secrets["deployer"] not in answer.headers["set-cookie"]
    assert client.get("/models").status_code == 200
    assert client.get("/api/v1/changes/last").status_code == 401  # a cookie opens pages only
    kept = dict(client.cookies)
    assert client.post("/logout", headers=origin).status_code == 303
    client.cookies.update(kept)
    assert client.get("/models").status_code == 303


ACTIONS = {
    "author": ("/tags", "/try"),
    "deployer": ("/deploy", "/rollback", "/allow", "/rules/pause", "/forms/"),
}


def test_pages_show_each_reader_what_they_may_do_and_nothing_else(
    connection: Connection, client: httpx.Client, secrets: Mapping[Role, str]
) -> None:
    found = fill()
    found.connection.registry.request_rollback(
        DEPLOYMENT, found.ids[0], back_to=found.ids[1], reason="slow", actor="ann"
    )
    paths = [
        f"/models/{found.ids[2]}",
        f"/models/{found.ids[2]}/online",
        "/deployments",
        f"/deployments/{DEPLOYMENT}",
        "/rules?q=tags.region",
        "/batch-jobs",
        "/audit",
    ]
    for role in ALL_ROLES:
        sent = {"authorization": f"Bearer {secrets[role]}"}
        answers = [client.get(path, headers=sent) for path in paths]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
        text = "".join(answer.text for answer in answers)
        offered = set(re.findall(r'<form [^>]*method="post" action="([^"#]+)', text))
        offered |= set(re.findall(r'href="(/forms/[^"?]+)', text))
        assert "/logout" in offered and f"{role}-ann, {role}" in text
        for needed, actions in ACTIONS.items():
            shown = [one for one in actions if any(one in path for path in offered)]
            assert shown == (list(actions) if allows(role, needed) else []), (role, offered)
        routes = guarded(build_pages(connection, Sessions()).routes, ROLES)
        for path in offered:  # nothing that is offered is refused
            verb = "GET" if path.startswith("/forms/") else "POST"
            assert (needs := role_for(routes, verb, path)) is None or allows(role, needs), path
    public = client.get("/static/style.css")
    assert public.headers.get("cache-control") != "no-store"
    assert client.get("/login").headers.get("cache-control") != "no-store"
    refused = client.get("/forms/rule", headers={"authorization": f"Bearer {secrets['viewer']}"})
    assert (refused.status_code, refused.headers["cache-control"]) == (403, "no-store")


def test_a_revoked_token_ends_its_sessions(
    connection: Connection, client: httpx.Client, secrets: Mapping[Role, str]
) -> None:
    origin = {"origin": str(client.base_url).rstrip("/")}
    client.post("/login", data={"token": secrets["viewer"]}, headers=origin)
    assert client.get("/models").status_code == 200
    (viewer,) = [each for each in connection.registry.tokens() if each.role == "viewer"]
    connection.registry.revoke_token(viewer.id, actor="root")
    assert client.get("/models").status_code == 303


def test_who_fails_too_often_has_to_wait(client: httpx.Client, secrets: Mapping[Role, str]) -> None:
    origin = {"origin": str(client.base_url).rstrip("/")}
    for _ in range(MAX_FAILURES):
        assert client.post("/login", data={"token": "x"}, headers=origin).status_code == 401
    answer = client.post("/login", data={"token": secrets["admin"]}, headers=origin)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
