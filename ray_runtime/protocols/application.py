"""All protocols of one live envelope, as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable

from ray_runtime.live import Live
from ray_runtime.protocols import about, mlflow, oip, openapi, v0
from ray_runtime.protocols.http import Route, Router, document

PROTOCOLS: tuple[Callable[[Live], list[Route]], ...] = (
    v0.routes,
    oip.routes,
    mlflow.routes,
    about.routes,
)


def build_application(live: Live) -> Router:
    """Return the application that answers for this envelope. Everything is decided here."""
    base = f"/{live.options.deployment}"
    routes = [route for protocol in PROTOCOLS for route in protocol(live)]
    routes.append(document(f"{base}/openapi.json", openapi.document_route(live, routes)))
    return Router(
        base,
        routes,
        always=((b"x-envelope-id", live.envelope.manifest.id.encode()),),
        max_body_bytes=live.options.max_body_bytes,
        timeout_s=live.options.timeout_s,
    )
