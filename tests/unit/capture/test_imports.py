import importlib

import pytest

from envelope.capture.imports import reach_sources
from envelope.capture.modules import find_module_source
from envelope.errors import DependencyError
from tests.unit.capture.conftest import write


def reached(files, root, project):
    write(project, files)
    return {
        (item.module, item.is_optional)
        for item in reach_sources(find_module_source(project / root))
    }


@pytest.mark.parametrize(
    "source, imports",
    [
        pytest.param("import a, b.c as d", {("a", False), ("b.c", False)}, id="import"),
        pytest.param(
            "from a.b import c, d", {("a.b.c", False), ("a.b.d", False)}, id="from import"
        ),
        pytest.param("from a import *", {("a", False)}, id="star"),
        pytest.param("def f():\n  import a", {("a", False)}, id="in a function"),
        pytest.param(
            "class A:\n  async def f(self):\n    import a", {("a", False)}, id="in a method"
        ),
        pytest.param(
            "try:\n  import a\nexcept ImportError:\n  import b",
            {("a", True), ("b", True)},
            id="try",
        ),
        pytest.param(
            "try:\n  import a\nexcept (KeyError, ModuleNotFoundError):\n  a = None",
            {("a", True)},
            id="try with several",
        ),
        pytest.param("try:\n  import a\nexcept:\n  pass", {("a", True)}, id="bare except"),
        pytest.param(
            "try:\n  import a\nexcept KeyError:\n  pass", {("a", False)}, id="other except"
        ),
        pytest.param("try:\n  import a\nfinally:\n  pass", {("a", False)}, id="finally"),
        pytest.param(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import a\nelse:\n  import b",
            {("typing.TYPE_CHECKING", False), ("b", False)},
            id="for type checkers",
        ),
        pytest.param(
            "import a\ntry:\n  import a\nexcept ImportError: ...", {("a", False)}, id="both"
        ),
        pytest.param("x = 'import a'", set(), id="text"),
    ],
)
def test_imports_of_a_file(project, source, imports):
    assert reached({"one.py": source}, "one.py", project) == imports


def test_imports_inside_a_package_are_followed_and_tests_are_not(project):
    files = {
        "pkg/__init__.py": "from . import a",
        "pkg/a.py": "from .b.c import go\nfrom pkg.d import x\nimport lib_a",
        "pkg/b/__init__.py": "import lib_b",
        "pkg/b/c.py": "from .. import d\nimport lib_c",
        "pkg/d.py": "import lib_d",
        "pkg/tests/test_a.py": "import lib_tests",
    }
    assert reached(files, "pkg", project) == {
        (name, False) for name in ("lib_a", "lib_b", "lib_c", "lib_d")
    }


def test_what_the_process_imported_decides_where_to_start(project):
    write(
        project, {"pkg/__init__.py": "", "pkg/used.py": "import json", "pkg/plots.py": "import no"}
    )
    importlib.import_module("pkg.used")
    found = reach_sources(find_module_source("pkg"))
    assert [item.module for item in found] == ["json"]


def test_a_changed_file_is_read_again(project):
    assert reached({"one.py": "import a"}, "one.py", project) == {("a", False)}
    assert reached({"one.py": "import other"}, "one.py", project) == {("other", False)}


def test_a_file_that_is_not_python_is_named(project):
    with pytest.raises(DependencyError, match=r"one\.py.*not Python"):
        reached({"one.py": "def f(:"}, "one.py", project)
