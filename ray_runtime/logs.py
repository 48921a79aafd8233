"""What the replicas of a deployment have logged, read from the nodes where they run or ran."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import ray
import requests
from ray.exceptions import RayError
from ray.util.state import get_log, list_logs, list_nodes
from ray.util.state.exception import RayStateApiException

from envelope.errors import ClusterError

BEGINS = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) \d{4}-\d\d-\d\d ")  # a line of Serve's


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLog:
    """The end of one file of one replica. node: its address."""

    node: str
    file: str
    lines: Sequence[str]


def read_logs(deployment: str, *, lines: int) -> Iterator[ReplicaLog]:
    """The last lines of each replica's log, also of those that have ended and of those beside it.

    lines: of each; -1 for all. The process must be a driver of the cluster.
    Raises ClusterError when the cluster does not say.
    """
    address = ray.get_runtime_context().gcs_address  # another Ray may run on this machine
    try:
        for node in list_nodes(address=address):
            if node.state != "ALIVE":
                continue
            for file in _files(address, node.node_id, deployment):
                parts = get_log(address=address, node_id=node.node_id, filename=file, tail=lines)
                text = "".join(parts)
                yield ReplicaLog(node=node.node_ip, file=file, lines=text.splitlines())
    except (RayStateApiException, RayError, requests.RequestException, ConnectionError) as exc:
        raise ClusterError(
            f"the logs cannot be read from the cluster: {exc}; look with `envelope status`"
        ) from exc


def _files(address: str, node_id: str, deployment: str) -> list[str]:
    """The logs of its applications: its own, and those that stand beside it (`--challenger`)."""
    found: set[str] = set()
    for application in (deployment, f"{deployment}--*"):
        glob = f"serve/replica_{application}_{deployment}_*.log"
        for files in list_logs(address=address, node_id=node_id, glob_filter=glob).values():
            found.update(files)
    return sorted(found)


def lines_of_error(lines: Iterable[str], error_id: str) -> list[str]:
    """What was logged with an error id: its line, and the traceback that follows it.

    >>> log = ["INFO 2026-03-01 a", "ERROR 2026-03-01 error id 7", "Traceback", "INFO 2026-03-01 b"]
    >>> lines_of_error(log, "7")
    ['ERROR 2026-03-01 error id 7', 'Traceback']
    """
    found: list[str] = []
    for line in lines:
        if BEGINS.match(line):
            if found:
                return found
            if f"error id {error_id}" in line:
                found.append(line)
        elif found:
            found.append(line)
    return found
