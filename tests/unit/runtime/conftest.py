"""Saved models, started as a replica starts them, and asked without a server in between."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest

import envelope as me
from envelope.connection import connect, disconnect
from ray_runtime.live import Live, ReplicaOptions, start
from ray_runtime.protocols.application import build_application
from ray_runtime.protocols.http import Message, Router

T = TypeVar("T")


def sums_model() -> Any:
    """A model of one DataFrame: a row's answer is twice the sum of its x and y."""

    class Sums:
        def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
            if (frame["x"] == 13.0).any():
                raise RuntimeError("thirteen is secret")
            return np.asarray(2.0 * frame["x"] + 2.0 * frame["y"])

    return as_if_in_a_notebook(Sums)()


def as_if_in_a_notebook(kind: Any) -> Any:
    """Make a class or function travel by value: the tests are no package to install."""
    kind.__module__ = "__main__"
    return kind


def frame(rows: int = 10) -> pd.DataFrame:
    """Rows of two float columns, all different."""
    numbers = np.arange(rows, dtype=float)
    return pd.DataFrame({"x": numbers / 4, "y": numbers + 0.5})


def adding_function() -> Any:
    """A function of plain parameters."""

    def add(a: int, b: int = 2) -> int:
        return a + b

    return as_if_in_a_notebook(add)


@dataclass(frozen=True)
class Answered:
    """What came back. headers: lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Asks one application, in one event loop."""

    app: Router
    live: Live

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | Sequence[bytes] = b"",
        headers: dict[str, str] | None = None,
    ) -> Answered:
        """Send a request. A sequence of bodies comes in as many parts; path: below the prefix."""
        parts = [body] if isinstance(body, bytes) else list(body)
        whole = {"content-length": str(sum(map(len, parts)))} if len(parts) == 1 else {}
        sent: list[Message] = []

        async def receive() -> Message:
            if not parts:
                return {"type": "http.disconnect"}
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": f"/{self.live.options.deployment}{path}",
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in {**whole, **(headers or {})}.items()
            ],
        }
        await self.app(scope, receive, send)
        opening, ending = sent
        return Answered(
            status=opening["status"],
            headers={name.decode(): value.decode() for name, value in opening["headers"]},
            body=ending["body"],
        )

    async def post(self, path: str, value: Any, **headers: str) -> Answered:
        """Send a value as JSON."""
        return await self.ask(
            "POST", path, json.dumps(value).encode(), {"content-type": "application/json"} | headers
        )


def options_for(envelope: me.Envelope, **changes: Any) -> ReplicaOptions:
    """The options of a replica of an envelope that was saved in this test's home."""
    connection = connect()
    row = connection.registry.envelope(envelope.id)
    fields: dict[str, Any] = {
        "deployment": "ltv",
        "envelope_id": envelope.id,
        "manifest_sha256": row.manifest_sha256,
        "function_hashes": row.functions,
        "release_id": "release-1",
        "store_url": connection.store.url,
    }
    return ReplicaOptions(**{**fields, **changes})


Serving = Callable[..., T]


def serving(
    envelope: me.Envelope,
    conversation: Callable[[Client], Coroutine[Any, Any, T]],
    **changes: Any,
) -> T:
    """Start an envelope, hold a conversation with it, and end it. changes: of its options."""

    async def run() -> T:
        live = await start(options_for(envelope, **changes))
        try:
            return await conversation(Client(build_application(live), live))
        finally:
            live.pool.close()

    return asyncio.run(run())


@dataclass(frozen=True)
class Saved:
    """A home with two models in it, saved once; every test gets a copy of its own."""

    home: Path
    sums: str
    adding: str

    def copy_to(self, home: Path, envelope_id: str) -> me.Envelope:
        shutil.copytree(self.home, home, dirs_exist_ok=True)
        return me.get(envelope_id)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    home = tmp_path_factory.mktemp("saved") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(home))
        sums = me.save_model(
            name="sums", model=sums_model(), query_function="predict", api_input=frame()
        )
        adding = me.save_model(
            name="adding", query_function=adding_function(), api_input={"a": 1, "b": 2}
        )
        disconnect()
    return Saved(home=home, sums=sums.id, adding=adding.id)


@pytest.fixture
def sums(saved: Saved, home: Path) -> me.Envelope:
    """A row-wise model."""
    return saved.copy_to(home, saved.sums)


@pytest.fixture
def adding(saved: Saved, home: Path) -> me.Envelope:
    """A function of plain parameters."""
    return saved.copy_to(home, saved.adding)
