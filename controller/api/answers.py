"""Answers: JSON, compressed where it is worth it, and tagged so that it need not be sent twice."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from envelope.remote import wire

GZIP_FROM_BYTES = 1000
GZIP_LEVEL = 4  # 100 MB/s; JSON of envelopes shrinks to a sixth


def json_answer(request: Request, value: Any, *, status: int = 200) -> Response:
    """Answer with a value of the registry; 204 has no body."""
    if status == 204:
        return Response(status_code=204)
    return bytes_answer(request, wire.encode(value), status=status)


def bytes_answer(
    request: Request, data: bytes, *, status: int = 200, is_immutable: bool = False
) -> Response:
    """Answer with JSON that is encoded already; 304 when the caller has it.

    is_immutable: whether what is asked for can never be another.
    """
    headers = {"Vary": "Accept-Encoding"}
    if request.method in ("GET", "HEAD"):
        tag = f'W/"{hashlib.sha256(data).hexdigest()[:32]}"'
        headers["ETag"] = tag
        headers["Cache-Control"] = "private, " + (
            "max-age=31536000, immutable" if is_immutable else "no-cache"
        )
        if has_tag(request, tag):
            return Response(status_code=304, headers=headers)
    if len(data) >= GZIP_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        data = gzip.compress(data, GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(data, status_code=status, media_type="application/json", headers=headers)


def has_tag(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this tag, weak or strong."""
    named = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    return any(each.removeprefix("W/") == tag.removeprefix("W/") for each in named)
