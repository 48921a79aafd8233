"""The deployment's page, and Swagger UI from the `fastapi-swagger` package beside it: no CDN.

That package follows Swagger UI's releases and needs nothing that Serve does not bring along; only
its files are used, so it is never imported.
"""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

from envelope.errors import DependencyError
from ray_runtime.live import Live
from ray_runtime.protocols import page
from ray_runtime.protocols.http import Answer, Header, Request, Route, document

PACKAGE = "fastapi_swagger"
HTML = b"text/html; charset=utf-8"
SCRIPT = b"text/javascript; charset=utf-8"
CSS = b"text/css; charset=utf-8"
ASSETS = {
    "swagger-ui-bundle.js": SCRIPT,
    "swagger-ui.css": CSS,
    "favicon-32x32.png": b"image/png",
}
CACHED: Header = (b"cache-control", b"public, max-age=86400")

# Paths are relative to the page, so that it also works behind a proxy that adds a prefix.
SWAGGER = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{deployment}</title>
<link rel="icon" href="favicon-32x32.png">
<link rel="stylesheet" href="swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="start.js"></script>
</body>
</html>
"""
START = b"""window.ui = SwaggerUIBundle({
  url: "../openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true,
  displayRequestDuration: true, validatorUrl: null, defaultModelsExpandDepth: 0
});
"""


def routes(live: Live) -> list[Route]:
    """Return the docs page, Swagger UI, and their files."""
    deployment = live.options.deployment
    base = f"/{deployment}/docs"
    folder = asset_folder()
    return [
        document(base, page.render(live), HTML),
        document(f"{base}/page.css", page.CSS, CSS),
        document(f"{base}/page.js", page.JS, SCRIPT),
        document(f"{base}/api", SWAGGER.format(deployment=deployment).encode(), HTML),
        document(f"{base}/start.js", START, SCRIPT),
        *(_file(f"{base}/{name}", folder / name, media) for name, media in ASSETS.items()),
    ]


def asset_folder() -> Path:
    """Return where Swagger UI's files are. Raises DependencyError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise DependencyError(
            "fastapi-swagger, which holds the docs page's files, is not installed here; "
            "install model-envelope[ray]"
        )
    return Path(next(iter(places))) / "resources"


def _file(path: str, file: Path, media_type: bytes) -> Route:
    async def handler(request: Request) -> Answer:
        # Not kept: 1.7 MB per replica for a page that is opened now and then.
        return Answer(await asyncio.to_thread(file.read_bytes), media_type, headers=(CACHED,))

    return Route(method="GET", path=path, handler=handler)
