"""Four envelopes of different shape, saved once and served once for all clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

import envelope as me
from envelope.connection import disconnect
from tests.integration.clients import models
from tests.served import served
from tests.unit.runtime.conftest import options_for


@dataclass(frozen=True)
class Served:
    """url: host:port/deployment, as clients want it. id: of the envelope."""

    url: str
    id: str


@pytest.fixture(scope="session")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Every model of `models`, by name."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("clients") / "home"))
        found = {}
        for name, save in models.SAVE.items():
            envelope: me.Envelope = save()
            server = stack.enter_context(served(options_for(envelope, deployment=name)))
            found[name] = Served(f"127.0.0.1:{server.port}/{name}", envelope.id)
        disconnect()
        yield found
