"""Settings of one process, read once into a frozen value.

Order: command-line flag, `ENVELOPE_*` variable, default. Nothing else in the project reads
`os.environ` for these.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from envelope.errors import ConfigError

# Some twenty that share most of their files, or three with the CUDA build of torch.
ENVIRONMENTS_MAX_BYTES = 20_000_000_000
LOOPBACK = "127.0.0.1"
Auth = Literal["none", "tokens"]
NOTIFY_ON = ("live", "failed", "held", "rejected", "rolled_back")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are, and who is asking.

    home: the embedded registry, the local store, logs and process records lie below it.
    registry_url: SQLAlchemy URL of the registry, or the address of a registry server.
    store_url: fsspec URL of the store, or the address of a registry server.
    token: of the registry server; it is left out where settings are shown.
    environments_dir: virtual environments that nodes build, kept across restarts.
    environments_max_bytes: on disk; beyond it those that nobody uses go, least recently used first.
    ray_address: the cluster to use instead of the one that `envelope up` starts.
    serve_port, job_port, ray_port: TCP ports of Serve's HTTP, Ray's job server and Ray's control
        store.
    haproxy_stats_port, haproxy_metrics_port: HAProxy's own two.
    api_host, api_port: where the controller serves the registry's pages and API.
    auth: "none" trusts who reaches the registry's pages and API, "tokens" asks each for a token.
    actor: who is written into the history of every change.
    webhooks: where the controller tells what became of releases. notify_on: of which states.
    """

    home: Path
    registry_url: str
    store_url: str
    environments_dir: Path
    environments_max_bytes: int = ENVIRONMENTS_MAX_BYTES
    ray_address: str | None = None
    serve_port: int = 8000
    job_port: int = 8265
    ray_port: int = 6379
    haproxy_stats_port: int = 8404
    haproxy_metrics_port: int = 9101
    api_host: str = LOOPBACK
    api_port: int = 8080
    auth: Auth = "none"
    actor: str = "unknown"
    webhooks: tuple[str, ...] = ()
    notify_on: tuple[str, ...] = NOTIFY_ON
    token: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read settings from `environ` (default `os.environ`).

        Raises ConfigError for a port that is not a number from 1 to 65535, a size that is none, and
        a registry that would trust whoever reaches it from another machine.
        """
        env = os.environ if environ is None else environ
        home = Path(env.get("ENVELOPE_HOME") or "~/.envelope").expanduser().absolute()
        registry_url = env.get("ENVELOPE_REGISTRY") or f"sqlite:///{home / 'registry.db'}"
        auth = _auth(env.get("ENVELOPE_AUTH") or "none")
        near = registry_url if is_server(registry_url) else f"file://{home / 'store'}"
        return cls(
            home=home,
            registry_url=registry_url,
            store_url=env.get("ENVELOPE_STORE") or near,
            token=env.get("ENVELOPE_TOKEN") or None,
            environments_dir=Path(
                env.get("ENVELOPE_ENVIRONMENTS") or home / "environments"
            ).expanduser(),
            environments_max_bytes=_bytes(
                env, "ENVELOPE_ENVIRONMENTS_MAX_BYTES", ENVIRONMENTS_MAX_BYTES
            ),
            ray_address=env.get("RAY_ADDRESS") or None,
            serve_port=_port(env, "ENVELOPE_SERVE_PORT", 8000),
            job_port=_port(env, "ENVELOPE_JOB_PORT", 8265),
            ray_port=_port(env, "ENVELOPE_RAY_PORT", 6379),
            haproxy_stats_port=_port(env, "ENVELOPE_HAPROXY_STATS_PORT", 8404),
            haproxy_metrics_port=_port(env, "ENVELOPE_HAPROXY_METRICS_PORT", 9101),
            api_host=_api_host(env.get("ENVELOPE_API_HOST") or LOOPBACK, auth),
            api_port=_port(env, "ENVELOPE_API_PORT", 8080),
            auth=auth,
            actor=env.get("ENVELOPE_ACTOR") or _user_at_host(),
            webhooks=tuple((env.get("ENVELOPE_WEBHOOKS") or "").split()),
            notify_on=tuple((env.get("ENVELOPE_NOTIFY_ON") or "").split()) or NOTIFY_ON,
        )

    def environ(self) -> dict[str, str]:
        """Return the variables that make another process read these settings.

        RAY_ADDRESS apart, and what only the controller needs: webhooks may hold secrets.
        """
        return {
            "ENVELOPE_HOME": str(self.home),
            "ENVELOPE_REGISTRY": self.registry_url,
            "ENVELOPE_STORE": self.store_url,
            "ENVELOPE_ENVIRONMENTS": str(self.environments_dir),
            "ENVELOPE_ENVIRONMENTS_MAX_BYTES": str(self.environments_max_bytes),
            "ENVELOPE_SERVE_PORT": str(self.serve_port),
            "ENVELOPE_JOB_PORT": str(self.job_port),
            "ENVELOPE_RAY_PORT": str(self.ray_port),
            "ENVELOPE_HAPROXY_STATS_PORT": str(self.haproxy_stats_port),
            "ENVELOPE_HAPROXY_METRICS_PORT": str(self.haproxy_metrics_port),
            "ENVELOPE_API_HOST": self.api_host,
            "ENVELOPE_API_PORT": str(self.api_port),
            "ENVELOPE_AUTH": self.auth,
            "ENVELOPE_ACTOR": self.actor,
        }


def is_server(url: str) -> bool:
    """Whether a registry's or a store's URL is the address of a registry server."""
    return url.startswith(("http://", "https://"))


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"{name}={text!r} is not a TCP port; set it to a number from 1 to 65535")
    return int(text)


def _auth(text: str) -> Auth:
    for known in get_args(Auth):
        if text == known:
            return cast(Auth, known)
    raise ConfigError(f"ENVELOPE_AUTH={text!r} is not known; set it to none or tokens")


def _api_host(host: str, auth: Auth) -> str:
    if auth == "none" and not is_loopback(host):
        raise ConfigError(
            f"the registry's pages on {host} would let everybody who reaches this machine change "
            "what is deployed; set ENVELOPE_AUTH=tokens (`envelope token create` makes the first), "
            f"or ENVELOPE_API_HOST={LOOPBACK}"
        )
    return host


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bytes(env: Mapping[str, str], name: str, default: int) -> int:
    text = (env.get(name) or str(default)).replace("_", "")
    if not text.isdecimal():
        raise ConfigError(f"{name}={text!r} is not a size; set it to a number of bytes, 0 or more")
    return int(text)


def _user_at_host() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose uid has no name
        user = f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"
