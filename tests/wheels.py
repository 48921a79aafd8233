"""Tiny wheels, so that installing can be tested without a network."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path


def write_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: dict[str, str] | None = None,
    requires: Sequence[str] = (),
    requires_python: str | None = None,
) -> Path:
    """Write `<name>-<version>-py3-none-any.whl`."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    head += [f"Requires-Dist: {line}" for line in requires]
    head += [f"Requires-Python: {requires_python}"] if requires_python else []
    content = {
        **({f"{stem}/__init__.py": f"__version__ = {version!r}\n"} if files is None else files),
        f"{info}/METADATA": "\n".join([*head, "", ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**content, f"{info}/RECORD": record}.items():
            archive.writestr(inside, text)
    return path
