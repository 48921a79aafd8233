"""A site-packages directory and a project folder of a test's own, both on sys.path."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest


class Site:
    """Installs made-up distributions: metadata and files as an installer leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        files: dict[str, str] | None = None,
        requires: Sequence[str] = (),
        direct_url: dict[str, Any] | None = None,
        installer: str = "pip",
    ) -> None:
        stem = name.replace("-", "_")
        files = {f"{stem}/__init__.py": ""} if files is None else files
        info = f"{stem}-{version}.dist-info"
        head = [f"Name: {name}", f"Version: {version}"]
        head += [f"Requires-Dist: {line}" for line in requires]
        meta = {
            f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", *head, "", "About: text", ""]),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/INSTALLER": f"{installer}\n",
        }
        if direct_url is not None:
            meta[f"{info}/direct_url.json"] = json.dumps(direct_url)
        everything = {**files, **meta}
        record = "".join(f"{path},,\n" for path in [*everything, f"{info}/RECORD"])
        write(self.folder, {**everything, f"{info}/RECORD": record})
        importlib.invalidate_caches()


def write(folder: Path, files: dict[str, str]) -> None:
    """Write {relative path: text}."""
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path / "site-packages")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site.folder)])
    with forgetting(tmp_path):
        yield site


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on sys.path, as the one of a training script is."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    with forgetting(tmp_path):
        yield folder


class forgetting:
    """Forget the modules that were imported from below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        importlib.invalidate_caches()

    def __exit__(self, *exc: object) -> None:
        below = f"{self.folder}{os.sep}"
        for name, module in list(sys.modules.items()):
            paths = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
            if any(path and str(path).startswith(below) for path in paths):
                del sys.modules[name]
