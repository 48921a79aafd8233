"""Joining a cluster as a driver: this home's own, or the one that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envelope.errors import ClusterError
from envelope.settings import Settings
from ray_runtime.flags import NODE_FLAGS, token_flags
from ray_runtime.home import Home

NAMESPACE = "envelope"
PROBE_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)
_chdir_lock = threading.Lock()


def connect(settings: Settings) -> None:
    """Make this process a driver of the cluster. Does nothing where it is one already.

    Raises ClusterError when there is no cluster, it does not answer or let us in, or runs another
    Ray or Python.
    """
    home = Home(settings.home)
    record = home.read_record()
    address = settings.ray_address or (record.address if record else None)
    if address is None:
        raise ClusterError(
            f"no cluster runs for {settings.home}; run `envelope up`, or set RAY_ADDRESS to one"
        )
    is_own = record is not None and address == record.address
    prepare_environment(home if is_own else None)
    import ray

    if ray.is_initialized():
        return
    _require_answer(address)
    _reload_ray_settings()
    home.empty.mkdir(parents=True, exist_ok=True)
    # Ray puts the folder that a driver runs in on every worker's import path.
    with _inside(home.empty):
        try:
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except Exception as exc:  # Ray raises five kinds here, RuntimeError among them
            raise ClusterError(_why(exc, address)) from exc
    if not is_own:
        from ray_runtime.nodes import check_nodes

        check_nodes(settings.store_url)


def ensure_serve(settings: Settings) -> None:
    """Start Serve where it does not run: on somebody else's cluster, since `up` starts our own.

    It answers on every node and every interface, as replicas must be reached from other nodes.
    Raises ClusterError when it does not start.
    """
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    try:
        _get_global_client()
    except RayServeException:
        try:
            serve.start(
                proxy_location="EveryNode",
                http_options=serve.HTTPOptions(host="0.0.0.0", port=settings.serve_port),
            )
        except Exception as exc:  # whatever its actors raise
            raise ClusterError(f"Serve does not start on this cluster: {exc}") from exc


def serve_url(settings: Settings) -> str:
    """Return where deployments answer: here, or on the head that RAY_ADDRESS names."""
    record = Home(settings.home).read_record()
    address = settings.ray_address
    host, _, port = (address or "").rpartition(":")
    is_own = address is None or (record is not None and address == record.address)
    here = is_own or not port.isdecimal()
    return f"http://{'127.0.0.1' if here else host}:{settings.serve_port}"


def disconnect() -> None:
    """Leave the cluster, also one that is gone; `connect` then joins the one there is by then."""
    import ray
    from ray.serve.context import _set_global_client

    _set_global_client(None)  # Serve would go on asking the controller of the cluster that was
    ray.shutdown()


def driver_environment(home: Home | None) -> dict[str, str]:
    """Return the variables that a driver needs. home: whose cluster it is, None for another's."""
    return NODE_FLAGS | (token_flags(home.token) if home is not None else {})


def prepare_environment(home: Home | None) -> None:
    """Set what Ray and Serve read when they are imported. Call it before importing either."""
    os.environ.update(driver_environment(home))
    if home is not None:
        os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go before the token's file


def _require_answer(address: str) -> None:
    """Raise ClusterError now rather than in the minute and a half that Ray takes to give up."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} is a Ray Client address; set RAY_ADDRESS to the control store's host:port, "
            "as `ray start` prints it"
        )
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # `auto` and other words of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT_S).close()
    except OSError as exc:
        raise ClusterError(
            f"no cluster answers at {address} ({exc.strerror or exc}); "
            "look with `envelope status`, start one with `envelope up`, or change RAY_ADDRESS"
        ) from exc


def _reload_ray_settings() -> None:
    """Make Ray see the variables set above, where it was imported before they were."""
    # Neither is in the type stub that Ray ships for its compiled module.
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    with _chdir_lock:
        before = os.getcwd()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _why(error: Exception, address: str) -> str:
    text = str(error)
    if "ersion mismatch" in text:
        return (
            f"the cluster at {address} runs another Ray or Python than this process:\n{text}\n"
            "install the same ray and the same Python minor version on both sides"
        )
    if "oken" in text or "nauthenticated" in text:
        return (
            f"the cluster at {address} did not let this process in: {text}\n"
            "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token file"
        )
    return f"the cluster at {address} cannot be joined: {text}; look with `envelope status`"
