"""The data that a model was trained on, by address and a hash of what it held; no row is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from envelope.capture.installed import without_credentials
from envelope.errors import ConfigError, EnvelopeError
from envelope.folder import Folder

CHUNK_BYTES = 1 << 20
SLICE_ROWS = 1 << 16  # copied at a time


def describe_datasets(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each dataset: name -> what identifies it.

    A frame (pandas, pyarrow, or what speaks Arrow's C stream): {"kind": "frame", "sha256" of its
    Arrow IPC stream, "rows", "columns"}. A local file or folder: {"kind": "file" or "folder",
    "uri", "sha256", "size_bytes", "modified_at" or "files"}. Another address: {"kind": "uri",
    "uri", and "size_bytes", "etag", "modified_at" as far as its server tells, else "reason"}; one
    without `//`, such as table:sales.clients, is kept as it is.
    Raises ConfigError naming the dataset that is none of these, or a file that is not there.
    """
    if not isinstance(datasets, Mapping) or not all(isinstance(n, str) and n for n in datasets):
        raise ConfigError(
            "datasets is a dict of names, as in datasets={'train': 's3://warehouse/x.parquet'}"
        )
    return {name: _describe(name, dataset) for name, dataset in datasets.items()}


def _describe(name: str, dataset: Any) -> dict[str, Any]:
    if isinstance(dataset, Path):
        return _local(name, dataset)
    if isinstance(dataset, str):
        parts = urlsplit(dataset)
        if parts.scheme == "file":
            return _local(name, Path(parts.path))
        # One letter is a drive of Windows.
        return _remote(dataset) if len(parts.scheme) > 1 else _local(name, Path(dataset))
    return _frame(name, dataset)


def _frame(name: str, frame: Any) -> dict[str, Any]:
    import pandas as pd
    import pyarrow as pa

    if isinstance(frame, pd.Series):
        frame = frame.to_frame()
    try:
        is_pandas = isinstance(frame, pd.DataFrame)
        table = pa.Table.from_pandas(frame) if is_pandas else pa.table(frame)
        sha256 = _hash_of_table(table)
    except (TypeError, ValueError, pa.ArrowException) as exc:
        # Arrow's own message may hold a value of the data.
        raise ConfigError(
            f"datasets[{name!r}] is a {type(frame).__name__} that Arrow cannot hold "
            f"({type(exc).__name__}); give the address of the data, or a frame of plain columns"
        ) from None
    return {
        "kind": "frame",
        "sha256": sha256,
        "rows": table.num_rows,
        "columns": table.num_columns,
    }


def _hash_of_table(table: Any) -> str:
    """Hash the Arrow IPC stream of a table; how it is chunked or sliced does not matter."""
    import numpy as np
    import pyarrow as pa

    table = table.replace_schema_metadata(None)  # pandas writes its own version there
    sink = _Hash()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as stream:
        for start in range(0, table.num_rows, SLICE_ROWS):
            rows = table.slice(start, SLICE_ROWS)
            # A slice is written with what lies beside it in memory, up to 8 bytes; a copy is not.
            stream.write_table(rows.take(np.arange(rows.num_rows)).combine_chunks())
    return sink.hash.hexdigest()


class _Hash:
    """A file that keeps the hash of what is written."""

    closed = False

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None: ...


def _local(name: str, path: Path) -> dict[str, Any]:
    path = path.expanduser().absolute()
    if not path.exists():
        raise ConfigError(
            f"datasets[{name!r}]: there is no {path}; give a file or folder that is there, an "
            "address with its scheme, such as s3://bucket/key or table:sales.clients, or a frame"
        )
    try:
        files = sorted(_files(path)) if path.is_dir() else [path]
        found = Folder(str(path)).describe()
        size_bytes = sum(file.stat().st_size for file in files)
        sha256 = _hash_of_folder(path, files) if path.is_dir() else _hash_of_file(path).hexdigest()
    except OSError as exc:
        raise ConfigError(
            f"datasets[{name!r}]: {path} cannot be read ({exc.strerror}); make it readable, or "
            "give its address with a scheme of your own, such as table:sales.clients"
        ) from exc
    kind = {"kind": "folder", "files": len(files)} if path.is_dir() else {"kind": "file"}
    return {**kind, "uri": path.as_uri(), **found, "size_bytes": size_bytes, "sha256": sha256}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _hash_of_file(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _hash_of_folder(folder: Path, files: list[Path]) -> str:
    """Hash the names and contents of all files; where the folder lies does not matter."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
        whole.update(_hash_of_file(path).digest())
    return whole.hexdigest()


def _remote(uri: str) -> dict[str, Any]:
    shown = _without_secrets(uri)
    if "://" not in uri:
        return {"kind": "uri", "uri": shown}
    try:
        found = Folder(uri).describe()
    except EnvelopeError as exc:  # training has read it; that we cannot is no reason not to save
        cause = exc.__cause__ or exc
        return {"kind": "uri", "uri": shown, "reason": type(cause).__name__}
    except FileNotFoundError:
        return {"kind": "uri", "uri": shown, "reason": "nothing is there"}
    return {"kind": "uri", "uri": shown, **found}


def _without_secrets(uri: str) -> str:
    """Leave out user, password and the query, where signed addresses carry their signature."""
    return urlunsplit(urlsplit(without_credentials(uri))._replace(query="", fragment=""))
