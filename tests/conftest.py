"""Fixtures that every test may use. No test sees the home, registry or store of whoever runs it."""

from __future__ import annotations

import itertools
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import fsspec
import hypothesis
import pytest

from envelope.settings import Settings
from envelope.store import Store

# A property is about values; how long an example takes says how busy the machine is. Few examples,
# others every time: the unit tests are run after each change, and `make coverage` goes deep.
hypothesis.settings.register_profile(
    "ours",
    max_examples=40,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("ours"), max_examples=1000
)
# The same examples each time, so that a change is judged by what it changes; others are looked for
# on everybody's own machine, and by --hypothesis-profile=thorough, which takes minutes.
hypothesis.settings.register_profile(
    "ci", hypothesis.settings.get_profile("ours"), max_examples=100, derandomize=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "ours")


_homes = itertools.count()


@pytest.fixture(autouse=True)
def home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An ENVELOPE_HOME of this test's own, made when it is used; no other ENVELOPE_* is set."""
    for name in [name for name in os.environ if name.startswith("ENVELOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = tmp_path_factory.getbasetemp() / f"home-{next(_homes)}"
    monkeypatch.setenv("ENVELOPE_HOME", str(folder))
    monkeypatch.setenv("ENVELOPE_ACTOR", "tester@here")
    yield folder
    if "envelope.connection" in sys.modules:
        sys.modules["envelope.connection"].disconnect()


@pytest.fixture
def settings(home: Path) -> Settings:
    """The settings that this test's home gives."""
    return Settings.read()


@pytest.fixture
def memory_store() -> Store:
    """An empty store in memory."""
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket. Credentials come from the environment, as on a node."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    client = boto3.client("s3")
    name = f"bucket-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=name)
    return f"s3://{name}/store"


@pytest.fixture
def by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the test module's functions travel as a script's do; else they are local code."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)
