"""The process that starts a Ray head node and Serve, and ends: `python -m ray_runtime.head`.

It is a process of its own because Ray and Serve read their flags once, when they are imported, and
the process that starts the platform may hold another cluster's. One interpreter does both steps:
importing Ray takes seconds.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

PROGRESS = "envelope: "  # what begins so is a step that a person waits for


def adjust(parameters: Any, is_head: bool) -> None:
    """Start no Ray Client server: nobody connects through it, and it costs a process and a port.

    Ray calls this (RAY_START_HOOK) before it starts anything; its command line has no flag for it.
    """
    parameters.ray_client_server_port = None


def start_ray(*, port: int, job_port: int, temp_dir: str) -> None:
    """Start the head's daemons, which outlive this process. Ports that are not given are free ones.

    Raises what `ray start` raises.
    """
    from ray.scripts.scripts import start

    os.environ["RAY_START_HOOK"] = f"{adjust.__module__}.{adjust.__name__}"
    arguments = {
        "--port": port,
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": job_port,
        "--dashboard-agent-listen-port": 0,
        "--min-worker-port": 0,
        "--max-worker-port": 0,
        "--temp-dir": temp_dir,
    }
    start.main(
        ["--head", "--no-monitor", "--disable-usage-stats"]
        + [f"{name}={value}" for name, value in arguments.items()],
        standalone_mode=False,
    )


def start_serve(*, address: str, port: int) -> None:
    """Start Serve's controller and its HTTP proxy, for this machine alone."""
    import ray
    from ray import serve

    ray.init(address=address, namespace="envelope", log_to_driver=False, configure_logging=False)
    serve.start(
        proxy_location="HeadOnly",
        http_options=serve.HTTPOptions(host="127.0.0.1", port=port),
    )
    ray.shutdown()


def main() -> None:
    """Start both as the JSON object in the first argument says."""
    wanted = json.loads(sys.argv[1])
    print(f"{PROGRESS}Ray", flush=True)
    start_ray(port=wanted["ray_port"], job_port=wanted["job_port"], temp_dir=wanted["temp_dir"])
    print(f"{PROGRESS}Serve", flush=True)
    start_serve(address=f"127.0.0.1:{wanted['ray_port']}", port=wanted["serve_port"])


if __name__ == "__main__":
    # Ray imports this file again, by its name, for `adjust`.
    from ray_runtime import head

    head.main()
