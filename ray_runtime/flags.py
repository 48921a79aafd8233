"""The variables that Ray and Serve read when they start, and what each is for.

`cluster.yaml` and `deploy/kuberay.yaml` carry the same; tests hold the three together.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

PLUGIN = "ray_runtime.environments.EnvelopePlugin"

SERVE_FLAGS = {
    # A replica answers HTTP itself behind HAProxy: 267 -> 2,548 requests/s for one sklearn replica.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Implied by the line above, but Serve reads it before that takes effect (serve 2.60).
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    # How soon a proxy that died is seen; Serve's own 10 s is a long time to refuse connections.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
}

NODE_FLAGS = SERVE_FLAGS | {
    "RAY_RUNTIME_ENV_PLUGINS": json.dumps([{"class": PLUGIN}]),
    # Ray starts workers, and so replicas and HAProxy, with niceness 15: anything else on the node
    # would hold up requests for seconds. A starting replica gives way by itself (niceness.py).
    "RAY_worker_niceness": "0",
    # A failed environment is remembered for ten minutes otherwise, also after its cause is gone.
    "BAD_RUNTIME_ENV_CACHE_TTL_SECONDS": "5",
    # The plugin does its own waiting; a bad pin does not get better by trying it three times.
    "RUNTIME_ENV_RETRY_TIMES": "2",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run` Ray would rebuild the driver's environment on every node.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # 3.11.7 may talk to 3.11.9: what travels as a pickle depends on the minor version only.
    "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor",
    # Ray's own future default; it warns in every driver until it is chosen.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

# Blocks of Serve's direct ingress lie below Linux' ephemeral ports and off Serve's own default
# (30000 to 31000), so that another Serve on this machine asks for other ports.
FIRST_BLOCK = 12_000
BLOCK_PORTS = 1_000
BLOCKS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerPorts:
    """Ports that nobody outside the platform needs to know: free ones are taken at start.

    fallback_http: Serve's Python proxy, which answers while a deployment has no replica.
    dashboard_metrics: where Ray's dashboard is scraped.
    """

    fallback_http: int
    dashboard_metrics: int


def ingress_block(home_id: str) -> int:
    """Return the first of the BLOCK_PORTS ports on which this home's replicas listen."""
    return FIRST_BLOCK + int(home_id, 16) % BLOCKS * BLOCK_PORTS


def has_haproxy(platform: str = sys.platform) -> bool:
    """Say whether Ray ships HAProxy for this platform; elsewhere Serve's own proxy answers."""
    return platform == "linux"


def local_flags(
    *, home_id: str, temp_dir: Path, stats_port: int, metrics_port: int, inner: InnerPorts
) -> dict[str, str]:
    """Return what only the local platform needs: its own ports, files and sockets.

    HAProxy's files are Ray's `/tmp/haproxy-serve` otherwise, shared with every other cluster.
    """
    haproxy = temp_dir / "h"
    block = ingress_block(home_id)
    middle = block + BLOCK_PORTS // 2
    flags = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(inner.fallback_http),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(block),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(middle),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(middle),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(block + BLOCK_PORTS),
        "DASHBOARD_METRIC_PORT": str(inner.dashboard_metrics),
    }
    if not has_haproxy():
        flags["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    return flags


def token_flags(token_path: Path) -> dict[str, str]:
    """Return what a process needs to be let in by a cluster that asks for a token."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}
