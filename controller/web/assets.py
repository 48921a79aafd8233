"""The script that draws charts: Vega-Lite as one file, made once by vl-convert."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import vl_convert
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from controller.web.render import pages_of

GLOBALS = "window.vegaEmbed = vegaEmbed;"


def vega(request: Request) -> Response:
    """Answer with the script. It changes only with the installed version of the library."""
    path = script(pages_of(request).connection.settings.home / "cache")
    return FileResponse(
        path, media_type="text/javascript", headers={"cache-control": "max-age=86400"}
    )


def script(folder: Path) -> Path:
    """Return where the script lies below a folder, making it if need be: that takes seconds."""
    path = folder / f"vega-{version('vl-convert-python')}.js"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(vl_convert.javascript_bundle(GLOBALS), encoding="utf-8")
        part.replace(path)
    return path
