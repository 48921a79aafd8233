"""The store over HTTP: blobs stream through in parts; what is written is checked before it appears.

Nothing that exists is ever written over with something else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Any, BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from controller.api.answers import bytes_answer, has_tag, json_answer
from controller.api.requests import check_texts, read_body
from envelope.connection import Connection
from envelope.errors import EnvelopeError, IntegrityError, ModelNotFound, StorageError
from envelope.manifest import Function, Manifest, read_manifest, read_record, sha256_of
from envelope.store import (
    CHUNK_BYTES,
    Store,
    blob_path,
    document_path,
    function_path,
    manifest_path,
)
from envelope.transfer import blobs_of

MAX_RECORD_BYTES = 64 << 20  # a manifest or a function; those of wide frames take some MB


def file_routes(connection: Connection) -> list[Route]:
    """Routes for blobs, manifests, functions and documents."""
    files = _Files(connection)
    return [
        Route("/blobs/{sha256}", files.get_blob, methods=["GET"]),
        Route("/blobs/{sha256}", files.put_blob, methods=["PUT"]),
        Route("/stored-envelopes", files.list_envelopes, methods=["GET"]),
        Route("/envelopes/{envelope_id}/manifest", files.get_record, methods=["GET"]),
        Route("/envelopes/{envelope_id}/manifest", files.put_record, methods=["PUT"]),
        Route("/envelopes/{envelope_id}/functions/{name}", files.get_record, methods=["GET"]),
        Route("/envelopes/{envelope_id}/functions/{name}", files.put_record, methods=["PUT"]),
        Route("/documents/{path:path}", files.get_record, methods=["GET"]),
        Route("/documents/{path:path}", files.put_record, methods=["PUT"]),
    ]


class _Files:
    def __init__(self, connection: Connection) -> None:
        self._store: Store = connection.store
        self._registry = connection.registry

    async def get_blob(self, request: Request) -> Response:
        """A blob as it lies in the store: one zstd frame."""
        sha256 = _sha256(request)
        headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, max-age=31536000, immutable"}
        size_bytes = await run_in_threadpool(self._store.folder.size, blob_path(sha256))
        if size_bytes is None:
            raise ModelNotFound(f"{self._store.url} holds no blob {sha256}")
        if has_tag(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers |= {"Content-Length": str(size_bytes), "Content-Type": "application/zstd"}
        if request.method == "HEAD":
            return Response(headers=headers)
        file = await run_in_threadpool(self._store.folder.open, blob_path(sha256))
        return StreamingResponse(_parts(file), headers=headers)

    async def put_blob(self, request: Request) -> Response:
        """Take a blob in, in little memory. Cut short at any byte, it leaves nothing."""
        context = self._store.write_packed(_sha256(request))
        file = await run_in_threadpool(context.__enter__)
        try:
            async for part in _in_chunks(request):
                await run_in_threadpool(file.write, part)
        except BaseException as exc:  # the caller hung up, too: the context must hear of it
            if not context.__exit__(type(exc), exc, exc.__traceback__):
                raise
        await run_in_threadpool(context.__exit__, None, None, None)
        return Response(status_code=204)

    async def list_envelopes(self, request: Request) -> Response:
        """The ids of all whole envelopes of the store, oldest first."""
        found = await run_in_threadpool(lambda: list(self._store.envelope_ids()))
        return json_answer(request, found)

    async def get_record(self, request: Request) -> Response:
        """A manifest, a function or a document, byte for byte."""
        path, folder = _path(request), self._store.folder
        try:
            data = await run_in_threadpool(folder.read, path)
            modified_at = await run_in_threadpool(folder.modified_at, path)
        except FileNotFoundError as exc:
            raise ModelNotFound(f"{self._store.url} holds no {path}") from exc
        answer = bytes_answer(request, data, is_immutable="path" not in request.path_params)
        answer.headers["Last-Modified"] = format_datetime(modified_at, usegmt=True)
        return answer

    async def put_record(self, request: Request) -> Response:
        """Take a manifest, a function or a document in, whole and checked, or not at all."""
        data = await read_body(request, MAX_RECORD_BYTES)
        path = _path(request)
        is_new_only = request.headers.get("if-none-match") == "*"
        is_written = await run_in_threadpool(
            self._put, path, request.path_params, data, is_new_only
        )
        return Response(status_code=204 if is_written else 412)

    def _put(self, path: str, names: dict[str, str], data: bytes, is_new_only: bool) -> bool:
        folder = self._store.folder
        if "envelope_id" not in names:
            return _write(folder, path, data, is_new_only)
        if "name" in names:
            self._check_function(names["envelope_id"], names["name"], data)
            return _write(folder, path, data, is_new_only)
        self._check_manifest(path, names["envelope_id"], data)
        is_written = folder.create(path, data)
        if not is_written and not is_new_only and folder.read(path) != data:
            raise EnvelopeError(
                f"{path} exists and is another one; an envelope is never altered: save the model "
                "again to get a new id"
            )
        return is_written or not is_new_only

    def _check_function(self, envelope_id: str, name: str, data: bytes) -> None:
        function = read_record(data, Function, where="the function that was sent")
        if function.name != name:
            raise IntegrityError(f"the function that was sent is {function.name!r}, not {name!r}")
        try:
            known = self._registry.envelope(envelope_id).functions
        except ModelNotFound:
            return  # it is being made
        if known.get(name) not in (None, sha256_of(data)):
            raise EnvelopeError(
                f"envelope {envelope_id} has a function {name!r} already, and functions are never "
                "altered; choose another name, or save a new envelope"
            )

    def _check_manifest(self, path: str, envelope_id: str, data: bytes) -> None:
        """Refuse a manifest of another envelope, and one whose parts are not all there."""
        manifest = read_manifest(data, where="the manifest that was sent")
        if manifest.id != envelope_id:
            raise IntegrityError(f"the manifest that was sent is of {manifest.id}, not of {path}")
        functions = [
            self._store.get_function(envelope_id, name, sha256)
            for name, sha256 in manifest.functions.items()
        ]
        self._check_blobs(manifest, functions)

    def _check_blobs(self, manifest: Manifest, functions: list[Function]) -> None:
        for blob in blobs_of(manifest, functions):
            if self._store.folder.size(blob_path(blob.sha256)) is None:
                raise IntegrityError(
                    f"the blob {blob.sha256} of envelope {manifest.id} is not in the server's "
                    "store; send it first, or unset ENVELOPE_STORE so that it goes there"
                )


def _write(folder: Any, path: str, data: bytes, is_new_only: bool) -> bool:
    if is_new_only:
        return bool(folder.create(path, data))
    folder.write(path, data)
    return True


def _sha256(request: Request) -> str:
    sha256 = request.path_params["sha256"]
    try:
        blob_path(sha256)
    except IntegrityError as exc:
        raise ModelNotFound(f"{sha256!r} is no SHA-256, 64 of 0-9 and a-f") from exc
    return str(sha256)


def _path(request: Request) -> str:
    names = check_texts(request.path_params)
    if "path" in names:
        return _document_path(names["path"])
    if "name" in names:
        return function_path(names["envelope_id"], names["name"])
    return manifest_path(names["envelope_id"])


def _document_path(path: str) -> str:
    """Where a document lies; blobs and envelopes have routes, and checks, of their own."""
    if path.partition("/")[0] in ("blobs", "envelopes"):
        raise ModelNotFound(f"{path!r} is no document; blobs and envelopes have their own routes")
    try:
        return document_path(path)
    except StorageError as exc:
        raise ModelNotFound(str(exc)) from exc


async def _in_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in parts that are worth a change of thread."""
    held = bytearray()
    async for part in request.stream():
        held += part
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def _parts(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while part := await run_in_threadpool(file.read, CHUNK_BYTES):
            yield part
    finally:
        file.close()
