"""Serve one envelope from a folder, without Ray, a registry or a controller.

    python -m ray_runtime.standalone replica.json [--host 0.0.0.0] [--port 8000]

For the images of `envelope export --dockerfile`: the same application as a replica's, the same
checks, loads and replays before it listens. One process; whoever runs the image scales it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from envelope.errors import EnvelopeError
from ray_runtime.live import ReplicaOptions, start
from ray_runtime.protocols.application import build_application


def read_options(path: Path) -> ReplicaOptions:
    """Read a replica's options. A store without a scheme lies beside the file."""
    options = ReplicaOptions(**json.loads(path.read_text(encoding="utf-8")))
    if "://" in options.store_url:
        return options
    return dataclasses.replace(options, store_url=str(path.absolute().parent / options.store_url))


async def serve(options: ReplicaOptions, host: str, port: int) -> None:
    """Load the envelope, then listen until the process is told to end. port 0: a free one."""
    import uvicorn

    live = await start(options)
    # As Serve starts it: ray/serve/_private/http_util.py.
    config = uvicorn.Config(
        build_application(live),
        host=host,
        port=port,
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    listening = config.bind_socket()
    listening.listen()
    address = "{}:{}".format(*listening.getsockname()[:2])
    print(f"{options.envelope_id} answers at http://{address}/{options.deployment}", flush=True)
    try:
        await uvicorn.Server(config).serve(sockets=[listening])
    finally:
        live.pool.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server. Exit status 1, with the reason, when the envelope cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m ray_runtime.standalone")
    parser.add_argument("options", type=Path, help="replica.json of an exported image")
    parser.add_argument("--host", default="0.0.0.0", help="default: all, as a container needs it")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args(arguments)
    try:
        asyncio.run(serve(read_options(chosen.options), chosen.host, chosen.port))
    except EnvelopeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
