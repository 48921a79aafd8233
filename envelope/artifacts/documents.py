"""Model documents that a model refers to by path: PMML and ONNX files travel as they are.

A `pathlib.Path` to such a file, in a model's attribute or a function's global, is loaded as the
path of a copy that lasts as long as the process.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envelope.artifacts.parts import Parts, map_file

NAME = "document"
TYPES = frozenset(
    {"pathlib.PosixPath", "pathlib.WindowsPath"}
    | {
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",  # Python 3.13
    }
)
SUFFIXES = (".pmml", ".onnx")
# Where torch.onnx.export and Hugging Face put the weights of an .onnx file that is over 2 GB.
BESIDE = (".data", "_data")


def take_apart(path: Any) -> Parts | None:
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return None
    files = files_of(path)
    return Parts(state=tuple(files), files=tuple(map_file(file) for file in files.values()))


def build(names: Any, *contents: Any) -> Path:
    return write_files(dict(zip(names, contents, strict=True)))


def files_of(path: Path) -> dict[str, Path]:
    """List the files that make up a document by their names, the document first."""
    beside = [path.with_name(path.name + ending) for ending in BESIDE]
    return {file.name: file for file in [path, *(file for file in beside if file.is_file())]}


def write_files(files: Mapping[str, Any]) -> Path:
    """Write a document's files to a folder that lasts as long as this process; return its path."""
    folder = Path(tempfile.mkdtemp(dir=_folder().name))
    paths = [folder / Path(name).name for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    return paths[0]


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="envelope-documents-")
