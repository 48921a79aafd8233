"""Replicas of envelopes of four shapes, each behind a real server."""

from __future__ import annotations

from collections.abc import Iterator

import cloudpickle
import pytest

from envelope.connection import disconnect
from tests.integration.replica import shapes
from tests.served import Served, served
from tests.unit.runtime.conftest import options_for


@pytest.fixture(
    scope="session", params=["row-wise", "matrix", "parameters", "mixed"], ids=lambda name: name
)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of each shape of envelope, in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("running") / "home"))
        cloudpickle.register_pickle_by_value(shapes)
        envelope = shapes.SHAPES[request.param]()
        cloudpickle.unregister_pickle_by_value(shapes)
        options = options_for(envelope)
        disconnect()
        with served(options) as server:
            yield server
