"""The store behind a registry server: what `Store` asks of a folder, as requests.

Blobs travel as they lie in the store, compressed once by who saves; the server checks their hash
before they appear, the reader before it hands out the first byte.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec

from envelope.errors import ModelNotFound, StorageError
from envelope.folder import IN_MEMORY_BYTES, failing
from envelope.remote.client import BLOCK_BYTES, Client, HttpError, segment

_RESOURCES = (  # where a file of the store is found at the server
    (re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{64})"), "/blobs/{}"),
    (re.compile(r"envelopes/([0-9A-Z]{26})/manifest\.json"), "/envelopes/{}/manifest"),
    (re.compile(r"envelopes/([0-9A-Z]{26})/functions/(\w+)\.json"), "/envelopes/{}/functions/{}"),
)


class RemoteFolder:
    """The files of a store behind a server. FileNotFoundError passes from reading."""

    is_local = False

    def __init__(self, client: Client) -> None:
        self.url = client.url
        self._client = client

    def failing(
        self, doing: str, path: str, *, missing_passes: bool = False
    ) -> AbstractContextManager[None]:
        return failing(self.url, doing, path, missing_passes=missing_passes)

    def read(self, path: str) -> bytes:
        with self.failing("reading", path, missing_passes=True), _missing_passes(path):
            return self._client.ask("GET", resource_of(path))

    def open(self, path: str) -> BinaryIO:
        file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))  # noqa: SIM115 - given away
        try:
            with (
                self.failing("reading", path, missing_passes=True),
                _missing_passes(path),
                self._client.open("GET", resource_of(path)) as answer,
            ):
                while data := answer.read(BLOCK_BYTES):
                    file.write(data)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def write(self, path: str, data: bytes) -> None:
        with self.failing("writing", path):
            self._client.ask("PUT", resource_of(path), body=data)

    def create(self, path: str, data: bytes) -> bool:
        with self.failing("writing", path):
            try:
                self._client.ask(
                    "PUT", resource_of(path), body=data, headers={"If-None-Match": "*"}
                )
            except HttpError as exc:
                if exc.status != 412:
                    raise
                return False
        return True

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        with self.failing("writing", "a temporary file"):
            name = os.path.join(tempfile.gettempdir(), f".{uuid.uuid4().hex}.tmp")
            file = open(name, "x+b")  # noqa: SIM115 - closed after the caller
        try:
            yield file
        finally:
            with suppress(OSError):
                file.close()
            Path(name).unlink(missing_ok=True)

    def publish(self, file: IO[bytes], path: str) -> None:
        with self.failing("writing", path):
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            headers = {
                "Content-Type": "application/zstd",
                "Content-Length": str(size_bytes),
            }
            with self._client.open("PUT", resource_of(path), body=file, headers=headers) as answer:
                answer.read()

    def size(self, path: str) -> int | None:
        with self.failing("reading", path):
            try:
                return int(self._head(path).get("Content-Length") or 0)
            except FileNotFoundError:
                return None

    def modified_at(self, path: str) -> datetime:
        with self.failing("reading", path, missing_passes=True):
            at = parsedate_to_datetime(self._head(path)["Last-Modified"])
            return at if at.tzinfo else at.replace(tzinfo=UTC)

    def names(self, path: str = "") -> list[str]:
        if path != "envelopes":
            raise StorageError(f"{self.url} lists envelopes only, not {path!r}")
        found: list[str] = msgspec.json.decode(
            self._client.ask("GET", "/stored-envelopes"), type=list[str]
        )
        return found

    def _head(self, path: str) -> Message:
        with (
            _missing_passes(path),
            self._client.open("HEAD", resource_of(path), headers={"Accept-Encoding": ""}) as answer,
        ):
            answer.read()
            return answer.headers


def resource_of(path: str) -> str:
    """The server's path of a file of the store."""
    for pattern, form in _RESOURCES:
        if match := pattern.fullmatch(path):
            return form.format(*map(segment, match.groups()))
    return "/documents/" + "/".join(map(segment, path.split("/")))


@contextmanager
def _missing_passes(path: str) -> Iterator[None]:
    """Say that there is no such file as a file system does."""
    try:
        yield
    except (ModelNotFound, HttpError) as exc:
        if isinstance(exc, HttpError) and exc.status != 404:
            raise
        raise FileNotFoundError(path) from exc
