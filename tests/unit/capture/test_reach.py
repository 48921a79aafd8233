import functools
import importlib
import sys
from typing import Annotated

import numpy as np
import pandas as pd
import pytest

from envelope.capture.reach import reach_code, reach_function, travels_by_value
from tests.unit.capture.conftest import write


def names(function):
    return {item.module for item in reach_function(function, via="test")}


def run(source, name="f"):
    """Define a function as a notebook does: in __main__."""
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(source, space)
    return space[name]


@pytest.mark.parametrize(
    "source, reached",
    [
        pytest.param("import numpy as np\ndef f(x): return np.sum(x)", {"numpy"}, id="global"),
        pytest.param("import numpy\ndef f(x): return x", set(), id="unused global"),
        pytest.param(
            "from scipy import stats\ndef f(x): return stats.zscore(x)", {"scipy.stats"}, id="from"
        ),
        pytest.param("def f(x):\n import scipy.stats", {"scipy.stats"}, id="lazy import"),
        pytest.param(
            "def f(x):\n from scipy.stats import norm as n\n return n",
            {"scipy.stats", "scipy.stats.norm"},
            id="lazy from, which may name a module",
        ),
        pytest.param(
            "def f(x):\n def g():\n  import scipy\n return [g() for _ in x]",
            {"scipy"},
            id="lazy import in a nested function",
        ),
        pytest.param(
            "import numpy\ndef helper(x): return numpy.sum(x)\ndef f(x): return helper(x)",
            {"numpy"},
            id="through a helper",
        ),
        pytest.param(
            "import numpy\nclass M:\n def go(self): return numpy.sum(1)\nm = M()\n"
            "def f(x): return m.go()",
            {"numpy"},
            id="through a method of an instance",
        ),
        pytest.param(
            "import pandas\nclass M(pandas.Index): pass\ndef f(x): return M(x)",
            {"pandas"},
            id="through a base class",
        ),
        pytest.param(
            "import numpy\nsteps = {'a': [(lambda x: numpy.sum(x))]}\ndef f(x): return steps",
            {"numpy"},
            id="through a container",
        ),
        pytest.param(
            "import functools, numpy\n@functools.cache\ndef f(x): return numpy.sum(x)",
            {"numpy"},
            id="behind functools.cache",
        ),
        pytest.param(
            "import functools, numpy\ng = lambda x, y: numpy.sum(x)\nf = functools.partial(g, 1)",
            {"numpy"},
            id="partial",
        ),
        pytest.param(
            "import pandas as pd\ndef f(x: pd.DataFrame, y=pd.NaT): return x",
            {"pandas"},
            id="annotations and defaults",
        ),
        pytest.param(
            "import pandas as pd\nfrom typing import Annotated\n"
            "def f(x: list[pd.DataFrame]) -> dict[str, Annotated[pd.Series, 1]]: return x",
            {"pandas"},
            id="inside generic annotations",
        ),
        pytest.param("def f(n):\n return f(n - 1)", set(), id="recursive"),
    ],
)
def test_reached_by_code_of_main(source, reached):
    ignored = {"builtins", "typing", "functools", "_functools", "types", "__main__"}
    assert {n for n in names(run(source)) if n not in ignored} >= reached
    tops = {name.partition(".")[0] for name in names(run(source))} - ignored
    assert tops - {name.partition(".")[0] for name in reached} <= set(sys.stdlib_module_names)


def test_a_decorator_is_looked_through():
    def logged(function):
        @functools.wraps(function)
        def wrapper(*args):
            import scipy

            return function(*args), scipy

        return wrapper

    @logged
    def query(x):
        return np.sum(x)

    assert {"numpy", "scipy"} <= names(query)


def test_closures_and_methods_of_library_objects():
    frame = pd.DataFrame({"a": [1]})

    def query(x):
        return frame, x

    assert "pandas" in names(query)
    assert "pandas" in names(frame.describe)
    assert "numpy" in names(np.sum)


def test_an_imported_function_is_named_and_not_looked_into(project):
    write(project, {"lib_one.py": "import numpy\ndef f(x): return numpy.sum(x)"})
    module = importlib.import_module("lib_one")
    assert names(module.f) == {"lib_one"}


def test_used_parts_of_a_namespace_are_found(site):
    site.add("acme-a", files={"acme/a/__init__.py": "", "acme/a/deep.py": ""})
    site.add("acme-b", files={"acme/b.py": ""})
    importlib.import_module("acme.a.deep")
    importlib.import_module("acme.b")
    function = run("import acme\ndef f(x): return acme.a.deep.go(x)")
    assert {n for n in names(function) if n.startswith("acme")} == {"acme", "acme.a", "acme.a.deep"}


@pytest.mark.parametrize(
    "source, reached",
    [
        pytest.param(
            "def f():\n try:\n  import maybe\n except ImportError:\n  maybe = None",
            [("maybe", True, False)],
            id="optional",
        ),
        pytest.param(
            "def f():\n import importlib\n return importlib.import_module('scipy.stats')",
            [("importlib", False, False), ("scipy.stats", False, True)],
            id="by name",
        ),
        pytest.param(
            "def f():\n from . import a\n from ..b import c",
            [("pkg.sub", False, False), ("pkg.sub.a", False, False), ("pkg.b", False, False),
             ("pkg.b.c", False, False)],
            id="relative",
        ),
        pytest.param(
            "def f():\n import a.b as c\n import d.e",
            [("a.b", False, False), ("a.b.b", False, False), ("d.e", False, False)],
            id="dotted",
        ),
    ],
)  # fmt: skip
def test_imports_in_code(source, reached):
    code = run(source).__code__
    found = reach_code(code, package="pkg.sub", via="test")
    assert [(r.module, r.is_optional, r.is_guess) for r in found] == reached


class OfThisModule:
    pass


def function_of_this_module():
    pass


@pytest.mark.parametrize(
    "obj, by_value",
    [
        pytest.param(OfThisModule, False, id="class of a module"),
        pytest.param(function_of_this_module, False, id="function of a module"),
        pytest.param(pd.DataFrame, False, id="class of a library, known by another name"),
        pytest.param(lambda: 0, True, id="lambda"),
        pytest.param(run("def f(): pass"), True, id="function of __main__"),
        pytest.param(type("Made", (), {}), True, id="class made at run time"),
    ],
)
def test_travels_by_value(obj, by_value):
    assert travels_by_value(obj) is by_value


def test_annotated_metadata_is_followed():
    def query(x: Annotated[int, np.float64(1)]):
        return x

    assert "numpy" in names(query)
