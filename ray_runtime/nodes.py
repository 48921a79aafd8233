"""What the nodes of somebody else's cluster can do for us, asked once per node and session.

A node whose Ray was started without our plugin ignores the plugin's field in silence, and the model
would run in whatever is installed there.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from envelope.capture.installed import OWN_DISTRIBUTION
from envelope.errors import ClusterError, ConfigError, ModelNotFound
from envelope.store import Store
from ray_runtime.environments import FIELD, SEEN
from ray_runtime.flags import NODE_FLAGS

Builder = Literal["plugin", "uv"]

PROBE_TIMEOUT_S = 90.0  # a worker has to start on every node
MARK_PATH = "nodes/mark"  # in the store
_KV_NAMESPACE = b"envelope"
_CHOICE = b"builder"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one node has.

    runtime, plugin: versions of model-envelope, None without it. mark: what it reads in the store
    at MARK_PATH, None where it reads nothing.
    """

    address: str
    runtime: str | None
    plugin: str | None
    mark: str | None = None


def choose_builder(nodes: Mapping[str, Node]) -> Builder:
    """Say what builds environments on these nodes (by id): our plugin or, without it, Ray's uv.

    Raises ClusterError naming the nodes that lack what others have, or what a model needs to run.
    """
    bare = sorted(node.address for node in nodes.values() if node.runtime is None)
    if bare:
        raise ClusterError(
            f"{OWN_DISTRIBUTION} is not installed on {', '.join(bare)}: run pip install "
            f"'{OWN_DISTRIBUTION}[ray]' there, and start Ray with the variables of cluster.yaml"
        )
    without = sorted(node.address for node in nodes.values() if node.plugin is None)
    if not without:
        return "plugin"
    if len(without) < len(nodes):
        raise ClusterError(
            f"Ray runs without our plugin on {', '.join(without)}, and with it elsewhere: start it "
            f"there with RAY_RUNTIME_ENV_PLUGINS='{NODE_FLAGS['RAY_RUNTIME_ENV_PLUGINS']}', "
            "as cluster.yaml does"
        )
    return "uv"


def check_store(nodes: Mapping[str, Node], *, url: str, mark: str) -> None:
    """Raise ConfigError unless every node reads, in a store that is a folder, what we wrote."""
    blind = sorted(node.address for node in nodes.values() if node.mark != mark)
    if blind:
        raise ConfigError(
            f"the store {url} is a folder that {', '.join(blind)} cannot read; "
            "set ENVELOPE_STORE to a URL that every node reaches, such as s3://bucket/folder, "
            "or to a folder that all of them share"
        )


def check_nodes(store_url: str) -> Builder:
    """Ask every living node that was not asked before, and note what builds environments here.

    Raises ClusterError as choose_builder does, or when a node does not answer in time; ConfigError
    when the store is a folder that a node does not share.
    """
    import ray
    from ray.experimental import internal_kv

    alive = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    store = Store(store_url)
    mark = _write_mark(store) if store.folder.is_local else None
    known: dict[str, Node] = {}
    # Which folders a node shares may change, so that a local store is asked for every time.
    for node_id in alive if mark is None else ():
        found = internal_kv._internal_kv_get(node_id.encode(), namespace=_KV_NAMESPACE)
        if found is not None:
            known[node_id] = Node(**json.loads(found))
    new = {node_id: address for node_id, address in alive.items() if node_id not in known}
    for node_id, node in _probe(new, store.url).items():
        internal_kv._internal_kv_put(
            node_id.encode(), json.dumps(asdict(node)).encode(), namespace=_KV_NAMESPACE
        )
        known[node_id] = node
    builder = choose_builder(known)
    if mark is not None:
        check_store(known, url=store.url, mark=mark)
    if builder == "uv":
        log.warning(
            "this cluster was started without our runtime_env plugin: Ray's own uv builds the "
            "environments, which takes longer and keeps what the nodes have installed"
        )
    internal_kv._internal_kv_put(_CHOICE, builder.encode(), namespace=_KV_NAMESPACE)
    return builder


def builder() -> Builder:
    """Return what `check_nodes` chose on the cluster that was joined; the plugin if it did not."""
    import ray
    from ray.experimental import internal_kv

    if not ray.is_initialized():
        return "plugin"
    found = internal_kv._internal_kv_get(_CHOICE, namespace=_KV_NAMESPACE)
    return "uv" if found == b"uv" else "plugin"


def _write_mark(store: Store) -> str:
    """Write a few random letters to the store, once, and return them."""
    try:
        mark = store.get_document(MARK_PATH)
    except ModelNotFound:
        store.put_document(MARK_PATH, uuid.uuid4().hex.encode())
        mark = store.get_document(MARK_PATH)
    return mark.decode()


def _probe(nodes: Mapping[str, str], store_url: str) -> dict[str, Node]:
    """Run a task on each of these nodes (id -> address)."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(
        variable: str, distribution: str, store_url: str, path: str
    ) -> tuple[str | None, str | None, str | None]:
        # Nested, so that it travels by value: the node may have none of our code.
        import importlib.metadata
        import os

        try:
            runtime = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            runtime = None
        try:
            from envelope.store import Store

            mark = Store(store_url).get_document(path).decode()
        except Exception:  # whatever is wrong with that store from there: nothing was read
            mark = None
        return runtime, os.environ.get(variable), mark

    task = ray.remote(look)
    asked: dict[str, Any] = {
        node_id: task.options(
            num_cpus=0,
            runtime_env={FIELD: {"probe": True}},
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        ).remote(SEEN, OWN_DISTRIBUTION, store_url, MARK_PATH)
        for node_id in nodes
    }
    if not asked:
        return {}
    _, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_TIMEOUT_S)
    if late:
        silent = sorted(nodes[node_id] for node_id, ref in asked.items() if ref in late)
        raise ClusterError(
            f"{', '.join(silent)} did not start a worker within {PROBE_TIMEOUT_S:.0f} s; look at "
            "the node's raylet, or take it out of the cluster"
        )
    found = {node_id: ray.get(ref) for node_id, ref in asked.items()}
    return {
        node_id: Node(address=nodes[node_id], runtime=runtime, plugin=plugin, mark=mark)
        for node_id, (runtime, plugin, mark) in found.items()
    }
