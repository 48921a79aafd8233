"""Requests to a registry server, over the standard library's HTTP.

`http.client` keeps the SDK free of an HTTP library and its five dependencies; connections are kept
here, and a body of any size is sent from a file and read in parts.
"""

from __future__ import annotations

import gzip
import http.client
import os
import select
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from envelope.errors import ConfigError, EnvelopeError, StorageError
from envelope.remote.operations import PREFIX
from envelope.remote.problems import MEDIA_TYPE, Problem, error_of

TIMEOUT_S = 60.0  # without a byte from the server
BLOCK_BYTES = 1 << 20
KEPT_S = 4.0  # uvicorn closes a connection that was idle for 5 s
MAX_KEPT = 16
ACTOR_HEADER = "Envelope-Actor"


@dataclass(slots=True)
class _Kept:
    connection: http.client.HTTPConnection
    used_at: float


class Client:
    """The connections to one server. May be used from many threads, and after a fork.

    Raises the server's own errors, StorageError when it cannot be reached.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as exc:
            raise ConfigError(f"{url!r} is no address of a registry server: {exc}") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{url!r} is no address of a registry server; use https://host or http://host:port"
            )
        self.url = url.rstrip("/")
        self._is_https = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._prefix = parts.path.rstrip("/") + PREFIX
        self._token = token
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._kept)

    def close(self) -> None:
        """Close every connection that is not in use."""
        with self._lock:
            _close_all(self._kept)

    def ask(
        self,
        verb: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send a request and return the body of its answer, decompressed."""
        with self.open(verb, path, query=query, body=body, headers=headers) as answer:
            return _read(answer)

    @contextmanager
    def open(
        self,
        verb: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; give its answer to be read in parts."""
        target = self._prefix + path + (f"?{urlencode(query)}" if query else "")
        wanted = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if self._token:
            wanted["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            wanted["Content-Type"] = "application/json"
        wanted |= headers or {}
        connection, answer = self._send(verb, target, body, wanted)
        is_whole = False
        try:
            with self._failing():
                if answer.status >= 400:
                    data = _read(answer)
                    is_whole = True
                    raise self._error(answer, data)
            yield answer
            is_whole = answer.isclosed()
        finally:
            if is_whole and not answer.will_close:
                self._keep(connection)
            else:
                connection.close()

    def _send(
        self, verb: str, target: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection, is_new = self._take()
        try:
            with self._failing():
                return connection, _exchange(connection, verb, target, body, headers)
        except StorageError:
            connection.close()
            if is_new or verb not in ("GET", "HEAD"):
                raise
        # The server closed a kept connection at this very moment, and the request changes nothing.
        connection = self._connect()
        try:
            with self._failing():
                return connection, _exchange(connection, verb, target, body, headers)
        except StorageError:
            connection.close()
            raise

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._pid != os.getpid():  # after a fork they belong to the parent
                self._kept.clear()
                self._pid = os.getpid()
            while self._kept:
                kept = self._kept.pop()
                if time.monotonic() - kept.used_at < KEPT_S and _is_quiet(kept.connection):
                    return kept.connection, False
                kept.connection.close()
        return self._connect(), True

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._kept) < MAX_KEPT and self._pid == os.getpid():
                self._kept.append(_Kept(connection, time.monotonic()))
                return
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if not self._is_https:
            return http.client.HTTPConnection(
                self._host, self._port, timeout=TIMEOUT_S, blocksize=BLOCK_BYTES
            )
        return http.client.HTTPSConnection(
            self._host,
            self._port,
            timeout=TIMEOUT_S,
            blocksize=BLOCK_BYTES,
            context=ssl.create_default_context(),
        )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as exc:
            raise StorageError(
                f"registry {self.url} cannot be reached: {str(exc) or type(exc).__name__}; check "
                "that the server runs and ENVELOPE_REGISTRY is right, then try again"
            ) from exc

    def failing(self) -> Any:
        """Turn what fails in the block into a StorageError that names the server."""
        return self._failing()

    def _error(self, answer: http.client.HTTPResponse, data: bytes) -> EnvelopeError:
        problem = None
        if (answer.headers.get_content_type()) == MEDIA_TYPE and data:
            problem = msgspec.json.decode(data, type=Problem)
            if (error := error_of(problem)) is not None:
                return error
        said = problem.detail if problem else f"{answer.status} {answer.reason}"
        if answer.status == 404 and problem is None and data:
            return ConfigError(
                f"{self.url} answers, and is no registry server ({said}); set ENVELOPE_REGISTRY to "
                "the address where `envelope controller` listens"
            )
        return HttpError(f"registry {self.url} answered: {said}", status=answer.status)


class HttpError(StorageError):
    """An answer that is none of the errors that this version knows."""

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(f"{message}; try again, and look into the server's log")


def segment(text: object) -> str:
    """Write a value as one segment of a path."""
    return quote(str(text), safe="")


def actor_headers(actor: str) -> dict[str, str]:
    """The header that says who is asking, where the server does not know better."""
    return {ACTOR_HEADER: quote(actor, safe="@. ", errors="surrogatepass")}


def _close_all(kept: list[_Kept]) -> None:
    for each in kept:
        each.connection.close()
    kept.clear()


def _exchange(
    connection: http.client.HTTPConnection,
    verb: str,
    target: str,
    body: bytes | IO[bytes] | None,
    headers: Mapping[str, str],
) -> http.client.HTTPResponse:
    try:
        connection.request(verb, target, body=body, headers=dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        # It may have answered before it had heard all, that the body is too large for one.
        return connection.getresponse()
    return connection.getresponse()


def _is_quiet(connection: http.client.HTTPConnection) -> bool:
    """Whether a kept connection is still open: one that can be read has been closed."""
    sock = connection.sock
    return sock is not None and not select.select([sock], [], [], 0)[0]


def _read(answer: http.client.HTTPResponse) -> bytes:
    data = answer.read()
    return gzip.decompress(data) if answer.headers.get("Content-Encoding") == "gzip" else data
