"""A folder on any fsspec filesystem, whose files appear whole or not at all.

This module is the only one that touches fsspec.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

import fsspec

from envelope.errors import ConfigError, EnvelopeError, StorageError

IN_MEMORY_BYTES = 32 << 20  # a larger file is read in chunks
# s3fs tries five times what botocore tries five times: a store that takes connections and never
# answers then fails after 417 s, with this after 150 s.
S3_TRIES = 2


class StoreFolder(Protocol):
    """What a store asks of where its files lie. Files appear whole or not at all.

    FileNotFoundError passes from reading; everything else that fails is a StorageError.
    """

    url: str
    is_local: bool

    def read(self, path: str) -> bytes:
        """Return a whole file."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, in place of the one that is there."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a whole file unless there is one. Return False, and write nothing, if there is."""

    def spool(self) -> AbstractContextManager[IO[bytes]]:
        """Give a file to write to, for `publish`. It is gone afterwards if it was not published."""

    def publish(self, file: IO[bytes], path: str) -> None:
        """Make a spooled file appear at `path`, whole."""

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None if there is no such file."""

    def modified_at(self, path: str) -> datetime:
        """Return when a file was last written, UTC."""

    def names(self, path: str = "") -> list[str]:
        """List what lies directly below `path`, sorted; [] if there is no such folder."""

    def failing(
        self, doing: str, path: str, *, missing_passes: bool = False
    ) -> AbstractContextManager[None]:
        """Turn what the block raises into a StorageError that says what was done to `path`."""


class Folder:
    """A folder of an fsspec filesystem whose files appear whole or not at all.

    url: `file:///...`, a plain path, `memory://...`, `s3://...`: any fsspec URL. Paths are relative
    to it, with `/`. Raises ConfigError for a URL that no installed filesystem reads.
    FileNotFoundError passes from reading; everything else that fails is a StorageError.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            # No listing cache: other processes write here too.
            filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as exc:
            extra = "; run: pip install 'model-envelope[s3]'" if url.startswith("s3:") else ""
            raise ConfigError(
                f"{url} needs a package that is not installed here: {exc}{extra}"
            ) from exc
        except ValueError as exc:
            raise ConfigError(
                f"{url!r} is not the URL of a store ({exc}); use a path, or a URL that fsspec "
                "knows, such as s3://bucket/folder"
            ) from exc
        if "s3" in filesystem.protocol:
            filesystem.retries = S3_TRIES
        self._filesystem: Any = filesystem
        self._root: str = root.rstrip("/")
        self.is_local = "file" in filesystem.protocol

    def read(self, path: str) -> bytes:
        """Return a whole file. Raises FileNotFoundError, StorageError."""
        with self.failing("reading", path, missing_passes=True):
            return cast(bytes, self._filesystem.cat_file(self._at(path)))

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading. Raises FileNotFoundError, StorageError."""
        with self.failing("reading", path, missing_passes=True):
            if self.is_local:
                return open(self._at(path), "rb")
            if self._filesystem.size(self._at(path)) <= IN_MEMORY_BYTES:
                return io.BytesIO(self._filesystem.cat_file(self._at(path)))
            return cast(BinaryIO, self._filesystem.open(self._at(path), "rb"))

    def open_ranges(self, path: str) -> BinaryIO:
        """Open a file to read some of it, without fetching all. Raises as `open`."""
        with self.failing("reading", path, missing_passes=True):
            return cast(BinaryIO, self._filesystem.open(self._at(path), "rb"))

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, in place of the one that is there."""
        if self.is_local:
            with self.spool() as file:
                with self.failing("writing", path):
                    file.write(data)
                self.publish(file, path)
            return
        with self.failing("writing", path):
            self._filesystem.pipe_file(self._at(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a whole file unless there is one. Return False, and write nothing, if there is."""
        if self.is_local:
            with self.spool() as file:
                with self.failing("writing", path):
                    file.write(data)
                return self._link(file, path)
        with self.failing("writing", path):
            try:
                self._filesystem.pipe_file(self._at(path), data, mode="create")
            except FileExistsError:
                return False
        return True

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """Give a file to write to, for `publish`. It is gone afterwards if it was not published."""
        with self.failing("writing", "a temporary file"):
            if self.is_local:
                os.makedirs(self._root, exist_ok=True)
            # Beside its target when local, where it can be renamed; else wherever there is room.
            name = os.path.join(
                self._root if self.is_local else tempfile.gettempdir(), f".{uuid.uuid4().hex}.tmp"
            )
            file = open(name, "x+b")  # noqa: SIM115 - closed after the caller
        try:
            yield file
        finally:
            with suppress(OSError):  # a full disk says so again when the buffer is flushed
                file.close()
            Path(name).unlink(missing_ok=True)

    def publish(self, file: IO[bytes], path: str) -> None:
        """Make a spooled file appear at `path`, whole."""
        with self.failing("writing", path):
            self._finish(file)
            if not self.is_local:
                self._filesystem.put_file(file.name, self._at(path))
                return
            os.makedirs(os.path.dirname(self._at(path)), exist_ok=True)
            os.replace(file.name, self._at(path))

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None if there is no such file."""
        with self.failing("reading", path):
            try:
                return cast(int, self._filesystem.size(self._at(path)))
            except FileNotFoundError:
                return None

    def describe(self, path: str = "") -> dict[str, Any]:
        """Return what tells one content from another, as far as the filesystem says.

        {"size_bytes", "etag", "modified_at": ISO 8601}. Raises FileNotFoundError, StorageError.
        """
        with self.failing("reading", path, missing_passes=True):
            info = self._filesystem.info(self._at(path))
        found: dict[str, Any] = {}
        if info.get("type") == "file" and info.get("size") is not None:
            found["size_bytes"] = int(info["size"])
        if etag := info.get("ETag") or info.get("etag"):
            found["etag"] = str(etag).strip('"')
        at = info.get("LastModified") or info.get("mtime") or info.get("updated")
        if isinstance(at, int | float):
            at = datetime.fromtimestamp(at, UTC)
        if at:
            found["modified_at"] = at.isoformat() if isinstance(at, datetime) else str(at)
        return found

    def modified_at(self, path: str) -> datetime:
        """Return when a file was last written, UTC. Raises FileNotFoundError, StorageError."""
        with self.failing("reading", path, missing_passes=True):
            at: datetime = self._filesystem.modified(self._at(path))
            return at if at.tzinfo else at.replace(tzinfo=UTC)

    def names(self, path: str = "") -> list[str]:
        """List what lies directly below `path`, sorted; [] if there is no such folder."""
        with self.failing("listing", path):
            try:
                found = self._filesystem.ls(self._at(path).rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
        names = {str(name).rstrip("/").rpartition("/")[2] for name in found}
        return sorted(name for name in names if name and not name.endswith(".tmp"))

    def find(self, pattern: str | None = None) -> list[tuple[str, int]]:
        """List files as (path, size in bytes), sorted: all below, or all that match a glob.

        A folder that matches stands for all below it. [] if there is no such folder; the path is
        "" where this folder is itself a file.
        """
        with self.failing("listing", pattern or ""):
            if pattern is None:
                return self._below(self._root)
            matches = self._filesystem.glob(self._at(pattern), detail=True)
            found: set[tuple[str, int]] = set()
            for name, info in matches.items():
                is_file = info["type"] == "file"
                found.update([self._found(name, info)] if is_file else self._below(name))
            return sorted(found)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all below it; nothing where there is none."""
        with self.failing("removing", path), suppress(FileNotFoundError):
            self._filesystem.rm(self._at(path), recursive=True)

    def _below(self, name: str) -> list[tuple[str, int]]:
        try:
            found = self._filesystem.find(name, detail=True)
        except FileNotFoundError:
            return []
        return sorted(self._found(at, info) for at, info in found.items())

    def _found(self, name: str, info: Any) -> tuple[str, int]:
        path = name.rstrip("/")[len(self._root) :].lstrip("/")
        size = info.get("size")
        return path, int(self._filesystem.size(name) if size is None else size)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _finish(self, file: IO[bytes]) -> None:
        file.flush()
        if self.is_local:
            # Renaming is no barrier: without this a power cut may leave a name with no bytes.
            os.fsync(file.fileno())
        file.close()

    def _link(self, file: IO[bytes], path: str) -> bool:
        with self.failing("writing", path):
            self._finish(file)
            os.makedirs(os.path.dirname(self._at(path)), exist_ok=True)
            try:
                os.link(file.name, self._at(path))
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links: look, then rename
                if os.path.exists(self._at(path)):
                    return False
                os.replace(file.name, self._at(path))
        return True

    def failing(
        self, doing: str, path: str, *, missing_passes: bool = False
    ) -> AbstractContextManager[None]:
        """Turn what the block raises into a StorageError that says what was done to `path`."""
        return failing(self.url, doing, path, missing_passes=missing_passes)


@contextmanager
def failing(url: str, doing: str, path: str, *, missing_passes: bool = False) -> Iterator[None]:
    """Turn what the block raises into a StorageError that says what was done where.

    missing_passes: FileNotFoundError is left as it is.
    """
    try:
        yield
    except EnvelopeError:
        raise
    except Exception as exc:  # filesystems raise what their client libraries raise
        if missing_passes and isinstance(exc, FileNotFoundError):
            raise
        raise StorageError(
            f"{doing} {path or 'the folder'} in {url} failed: "
            f"{str(exc) or type(exc).__name__}; {_remedy(exc)}"
        ) from exc


def _remedy(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "free some space there, then try again"
    if isinstance(error, PermissionError) or code in (errno.EROFS, errno.EACCES):
        return "give this user write access there, or set ENVELOPE_STORE to another place"
    return "check that it is there and can be reached (ENVELOPE_STORE names it), then try again"
