import importlib
import io
import os
import sys
import types
import zipfile

import pytest

from envelope.capture import modules, pack_module
from envelope.errors import DependencyError
from tests.unit.capture.conftest import write

PACKAGE = {
    "pkg/__init__.py": "NAME = 'pkg'",
    "pkg/clean.py": "x = 1",
    "pkg/data/levels.csv": "a,b",
    "pkg/__pycache__/clean.cpython-311.pyc": "",
    "pkg/.git/config": "",
    "pkg/.ipynb_checkpoints/clean.py": "",
    "pkg/env/pyvenv.cfg": "",
    "pkg/env/lib/big.py": "",
}


def entries(data):
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


@pytest.mark.parametrize("form", ["name", "path", "text path", "module", "submodule", "inner path"])
def test_a_package_is_packed_with_its_data_and_nothing_else(project, form):
    write(project, PACKAGE)
    value = {
        "name": lambda: "pkg",
        "path": lambda: project / "pkg",
        "text path": lambda: str(project / "pkg"),
        "module": lambda: importlib.import_module("pkg"),
        "submodule": lambda: importlib.import_module("pkg.clean"),
        "inner path": lambda: project / "pkg" / "clean.py",
    }[form]()
    name, data = pack_module(value)
    assert name == "pkg"
    assert entries(data) == ["pkg/__init__.py", "pkg/clean.py", "pkg/data/levels.csv"]


def test_a_single_file(project):
    write(project, {"helper.py": "x = 1", "other.py": ""})
    name, data = pack_module("helper")
    assert (name, entries(data)) == ("helper", ["helper.py"])


@pytest.mark.parametrize(
    "module, name, packed",
    [
        pytest.param("acme.features", "acme.features", ["acme/features/__init__.py",
                     "acme/features/deep.py"], id="a package inside"),
        pytest.param("acme.features.deep", "acme.features", ["acme/features/__init__.py",
                     "acme/features/deep.py"], id="a module of a package inside"),
        pytest.param("acme.single", "acme.single", ["acme/single.py"], id="a file inside"),
        pytest.param("acme", "acme", ["acme/features/__init__.py", "acme/features/deep.py",
                     "acme/single.py"], id="the namespace: its local part"),
    ],
)  # fmt: skip
def test_namespace_packages(site, project, module, name, packed):
    site.add("acme-lib", files={"acme/lib.py": ""})
    write(
        project,
        {"acme/features/__init__.py": "", "acme/features/deep.py": "", "acme/single.py": ""},
    )
    found, data = pack_module(module)
    assert (found, entries(data)) == (name, packed)


def test_equal_files_give_equal_bytes(project, tmp_path):
    write(project, {"one/pkg/a.py": "1", "one/pkg/__init__.py": ""})
    write(project, {"two/pkg/__init__.py": "", "two/pkg/a.py": "1"})
    os.utime(project / "two/pkg/a.py", (0, 0))
    (project / "two/pkg/a.py").chmod(0o600)
    assert pack_module(project / "one/pkg") == pack_module(project / "two/pkg")


def test_the_zip_can_be_imported_from(project, tmp_path, monkeypatch):
    write(project, {"zipped_pkg/__init__.py": "from . import a", "zipped_pkg/a.py": "X = 42"})
    name, data = pack_module("zipped_pkg")
    archive = tmp_path / "m.zip"
    archive.write_bytes(data)
    monkeypatch.setattr(sys, "path", [str(archive)])
    importlib.invalidate_caches()
    assert importlib.import_module(name).a.X == 42
    for loaded in [m for m in sys.modules if m.startswith("zipped_pkg")]:
        del sys.modules[loaded]


def test_a_linked_folder_is_packed_and_a_circle_is_not_followed(project):
    write(project, {"pkg/__init__.py": "", "shared/x.txt": "1"})
    (project / "pkg/shared").symlink_to(project / "shared")
    (project / "pkg/loop").symlink_to(project / "pkg")
    assert entries(pack_module("pkg")[1]) == ["pkg/__init__.py", "pkg/shared/x.txt"]


@pytest.mark.parametrize(
    "value, words",
    [
        pytest.param("no_such_module_at_all", "no such module", id="unknown name"),
        pytest.param("sys", "has no files", id="built in"),
        pytest.param(types.ModuleType("made_up"), "made at run time", id="made at run time"),
        pytest.param("/no/such/folder", "no Python file or package", id="unknown path"),
        pytest.param("__main__", "leave it out", id="main"),
    ],
)
def test_what_cannot_be_packed_is_an_error(value, words):
    with pytest.raises(DependencyError, match=words):
        pack_module(value)


def test_a_folder_whose_name_cannot_be_imported(project):
    (project / "not-a-name").mkdir()
    with pytest.raises(DependencyError, match="not-a-name"):
        pack_module(project / "not-a-name")


def test_a_namespace_of_installed_parts_only(site):
    site.add("acme-lib", files={"acme/lib.py": ""})
    with pytest.raises(DependencyError, match="namespace that installed packages share"):
        pack_module("acme")


def test_too_large_names_the_largest_file(project, monkeypatch):
    monkeypatch.setattr(modules, "MAX_MODULE_BYTES", 1000)
    write(project, {"pkg/__init__.py": "", "pkg/weights.bin": "x" * 2000, "pkg/b.txt": "x"})
    with pytest.raises(DependencyError, match=r"weights\.bin"):
        pack_module("pkg")
