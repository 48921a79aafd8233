"""What builds environments on somebody else's cluster, and where its deployments answer."""

from __future__ import annotations

import pytest

from envelope.errors import ClusterError, ConfigError
from envelope.settings import Settings
from ray_runtime.connection import serve_url
from ray_runtime.nodes import Node, check_store, choose_builder

FULL = Node(address="10.0.0.1", runtime="0.1.0", plugin="0.1.0")
NO_PLUGIN = Node(address="10.0.0.2", runtime="0.1.0", plugin=None)
BARE = Node(address="10.0.0.3", runtime=None, plugin=None)


@pytest.mark.parametrize(
    "nodes, builder",
    [
        pytest.param([FULL], "plugin", id="one-node"),
        pytest.param([FULL, FULL], "plugin", id="all-have-it"),
        pytest.param([NO_PLUGIN, NO_PLUGIN], "uv", id="none-has-it"),
    ],
)
def test_builder_follows_the_nodes(nodes: list[Node], builder: str) -> None:
    assert choose_builder({str(number): node for number, node in enumerate(nodes)}) == builder


@pytest.mark.parametrize(
    "nodes, message",
    [
        pytest.param(
            [FULL, NO_PLUGIN],
            "Ray runs without our plugin on 10.0.0.2, and with it elsewhere: start it there with "
            'RAY_RUNTIME_ENV_PLUGINS=\'[{"class": "ray_runtime.environments.EnvelopePlugin"}]\'',
            id="some-have-it",
        ),
        pytest.param(
            [FULL, BARE],
            "model-envelope is not installed on 10.0.0.3: run pip install 'model-envelope[ray]'",
            id="not-installed",
        ),
    ],
)
def test_nodes_that_differ_are_named(nodes: list[Node], message: str) -> None:
    with pytest.raises(ClusterError) as caught:
        choose_builder({str(number): node for number, node in enumerate(nodes)})
    assert str(caught.value).startswith(message)


def test_a_store_that_nodes_do_not_share_is_refused() -> None:
    nodes = {
        "a": Node(address="10.0.0.1", runtime="0.1.0", plugin="0.1.0", mark="ours"),
        "b": Node(address="10.0.0.2", runtime="0.1.0", plugin="0.1.0", mark=None),
        "c": Node(address="10.0.0.3", runtime="0.1.0", plugin="0.1.0", mark="of their own"),
    }
    with pytest.raises(ConfigError) as caught:
        check_store(nodes, url="file:///home/ann/.envelope/store", mark="ours")
    assert str(caught.value).startswith(
        "the store file:///home/ann/.envelope/store is a folder that 10.0.0.2, 10.0.0.3 cannot "
        "read; set ENVELOPE_STORE to"
    )
    check_store({"a": nodes["a"]}, url="file:///x", mark="ours")


@pytest.mark.parametrize(
    "address, url",
    [
        pytest.param(None, "http://127.0.0.1:8000", id="our-own"),
        pytest.param("10.0.0.1:6379", "http://10.0.0.1:8000", id="a-head"),
        pytest.param("envelope-head-svc:6379", "http://envelope-head-svc:8000", id="a-service"),
        pytest.param("auto", "http://127.0.0.1:8000", id="whatever-runs-here"),
    ],
)
def test_deployments_answer_on_the_head(settings: Settings, address: str | None, url: str) -> None:
    environ = settings.environ() | ({"RAY_ADDRESS": address} if address else {})
    assert serve_url(Settings.read(environ)) == url
