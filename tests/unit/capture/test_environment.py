import importlib
import json
import pickle
import sys
import types

import cloudpickle
import numpy as np
import pytest

from envelope.capture import GlobalsSeen, capture_environment
from envelope.capture.environment import NOT_NEEDED
from envelope.errors import DependencyError
from tests.unit.capture.conftest import write


def locked(*args, **kwargs):
    return {p.name: p.version for p in capture_environment(*args, **kwargs).packages}


def test_an_sklearn_model_needs_what_sklearn_requires():
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    lock = locked(cloudpickle.dumps(model), model.predict, extra_modules={"pandas"})
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl", "pandas"} <= lock.keys()
    assert lock["numpy"] == np.__version__
    assert {"ray", "pytest", "msgspec", "lightgbm", "model-envelope"}.isdisjoint(lock)


def test_the_lock_is_closed_over_requirements_with_markers_and_extras(site):
    site.add("top", requires=["middle[fast]>=1", 'never; python_version < "3"', "absent"])
    site.add(
        "middle", "2.0+cu121", requires=['speed; extra == "fast"', 'slow; extra == "slow"', "base"]
    )
    for name in ("speed", "slow", "base", "never"):
        site.add(name)
    captured = capture_environment(["top.model"], None)
    assert captured.transitive == ("base", "middle", "speed")
    packages = captured.packages
    assert [(p.name, p.version) for p in packages] == [
        ("base", "1.0"),
        ("middle", "2.0+cu121"),
        ("speed", "1.0"),
        ("top", "1.0"),
    ]


def test_what_was_installed_against_its_requirements_is_marked(site):
    site.add("strict", requires=["shared<2", "fine>=1"])
    site.add("shared", "2.5")
    site.add("fine", "1.0")
    packages = capture_environment(["strict"], None).packages
    assert [p.name for p in packages if p.is_forced] == ["shared"]


OPTIONAL = {
    "boost/__init__.py": "from .compat import Base, Table, Unused\nclass Model(Base): pass",
    "boost/compat.py": (
        "from learn import Base\nfrom tables import Table\nimport unrelated\nUnused = 1"
    ),
}


@pytest.mark.parametrize("how", ["stream", "seen", "function"])
def test_optional_requirements_that_a_library_uses_are_locked(site, how):
    """A base class, and what the module of the model holds; not all that is installed."""
    import io

    from tests.unit.capture.test_stream import Watched

    site.add(
        "boost",
        files=OPTIONAL,
        requires=[f'{x}; extra == "all"' for x in ("learn", "tables", "plots")],
    )
    site.add("learn", files={"learn.py": "class Base:\n def predict(self, x): return x"})
    site.add("tables", files={"tables.py": "class Table: pass"})
    site.add("plots", files={"plots.py": ""})
    site.add("unrelated")
    model = importlib.import_module("boost").Model()
    seen = GlobalsSeen()
    Watched(io.BytesIO(), seen).dump(model)
    lock = {
        "stream": lambda: locked(cloudpickle.dumps(model), None),
        "seen": lambda: locked(seen, None),
        "function": lambda: locked([], model.predict),
    }[how]()
    assert lock.keys() == {"boost", "learn", "tables"}


def test_a_version_control_install_is_locked_by_its_commit(site):
    site.add(
        "gitty",
        direct_url={
            "url": "https://me:secret@host/gitty.git",
            "vcs_info": {"vcs": "git", "commit_id": "f00d"},
        },
    )
    (package,) = capture_environment(["gitty"], None).packages
    assert package.origin == "git+https://host/gitty.git@f00d"


@pytest.mark.parametrize(
    "direct_url, words",
    [
        pytest.param(
            {"url": "file:///home/me/features", "dir_info": {"editable": True}},
            ["features 1.0", "editable install", "modules=[features]"],
            id="editable",
        ),
        pytest.param(
            {"url": "file:///home/me/features-1.0.whl", "archive_info": {}},
            ["features 1.0", "/home/me/features-1.0.whl", "modules=[features]"],
            id="local wheel",
        ),
    ],
)
def test_what_exists_on_this_machine_only_is_an_error(site, direct_url, words):
    site.add("features", direct_url=direct_url)
    with pytest.raises(DependencyError) as caught:
        capture_environment(["features"], None)
    assert all(word in str(caught.value) for word in words)


def test_every_module_that_cannot_travel_is_named_at_once(project):
    write(project, {"clean.py": "", "shape/__init__.py": "", "shape/deep.py": ""})
    importlib.import_module("shape.deep")
    with pytest.raises(DependencyError) as caught:
        capture_environment(["clean", "shape.deep.Class", "no_such_module", "numpy"], None)
    text = str(caught.value)
    assert "module 'clean'" in text and str(project / "clean.py") in text
    assert "module 'shape.deep'" in text and "modules=[shape]" in text
    assert "module 'no_such_module' is not installed" in text
    assert "numpy" not in text


@pytest.mark.parametrize("form", ["module", "name", "path"])
def test_passed_modules_travel_and_what_they_import_is_locked(site, project, form):
    site.add("lib-a", files={"lib_a.py": ""})
    site.add("lib-b", files={"lib_b.py": ""})
    write(
        project,
        {
            "passed/__init__.py": "from . import clean",
            "passed/clean.py": "import lib_a\ndef f():\n    import lib_b\n",
        },
    )
    module = importlib.import_module("passed")
    value = {"module": module, "name": "passed", "path": project / "passed"}[form]
    assert locked(["passed.clean"], None, [value]) == {"lib-a": "1.0", "lib-b": "1.0"}


def test_an_import_of_a_passed_module_that_cannot_travel_names_the_line(project):
    write(project, {"first.py": "import json\nimport second\n", "second.py": ""})
    with pytest.raises(DependencyError, match=r"module 'second' .*first\.py, line 2, needs it"):
        capture_environment([], None, [project / "first.py"])


def test_an_editable_install_that_is_passed_brings_its_requirements(site, tmp_path, monkeypatch):
    source = tmp_path / "checkout"
    write(source, {"mine/__init__.py": "import helper"})
    monkeypatch.setattr(sys, "path", [*sys.path, str(source)])
    site.add("helper")
    site.add("plugin-by-name")
    site.add(
        "mine",
        files={},
        requires=["helper", "plugin-by-name"],
        direct_url={"url": source.as_uri(), "dir_info": {"editable": True}},
    )
    assert locked(["mine"], None, ["mine"]) == {"helper": "1.0", "plugin-by-name": "1.0"}


@pytest.mark.parametrize(
    "reached, pickled, kept",
    [
        pytest.param(True, False, False, id="mentioned in code"),
        pytest.param(False, True, True, id="named by the pickle"),
    ],
)
def test_tools_are_left_out_unless_the_pickle_names_them(reached, pickled, kept):
    def query(x):
        import pytest

        return pytest, x

    lock = locked(["pytest"] if pickled else [], query if reached else None)
    assert ("pytest" in lock) is kept
    assert "pytest" in NOT_NEEDED


def test_a_tool_that_a_kept_distribution_requires_stays(site):
    site.add("setuptools-user", files={"user_of_it.py": ""}, requires=["setuptools"])
    assert "setuptools" in locked(["user_of_it"], None)


def test_optional_and_guessed_imports_may_be_absent():
    def query(name):
        import importlib

        try:
            import no_such_module_at_all
        except ImportError:
            no_such_module_at_all = None
        return importlib.import_module("scipy.stats"), "not.a.module", no_such_module_at_all

    assert "scipy" in locked([], query)


def test_the_base_class_of_pybind11_is_in_no_distribution():
    assert locked(["pybind11_builtins"], None) == {}


def test_a_lazy_import_that_is_not_installed_is_an_error():
    def query(x):
        import no_such_module_at_all

        return no_such_module_at_all, x

    with pytest.raises(DependencyError, match=r"no_such_module_at_all.*query function .*query"):
        capture_environment([], query)


def test_our_own_packages_are_not_part_of_the_lock_but_a_namesake_is_an_error(project, monkeypatch):
    assert locked(["envelope.schema", "model_envelope"], None) == {}
    write(project, {"controller.py": ""})
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    monkeypatch.delitem(sys.modules, "controller", raising=False)
    with pytest.raises(DependencyError, match="module 'controller'"):
        capture_environment(["controller"], None)


def test_a_local_file_that_hides_an_installed_module_is_local(site, project, monkeypatch):
    site.add("shared-name", files={"shared_name.py": ""})
    write(project, {"shared_name.py": ""})
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    with pytest.raises(DependencyError, match=r"shared_name.*project.*local code"):
        capture_environment(["shared_name"], None)


def test_the_three_ways_to_name_globals_agree():
    import io

    from tests.unit.capture.test_stream import Watched, closure

    seen = GlobalsSeen()
    Watched(io.BytesIO(), seen).dump([closure(), np.dtype("i4")])
    stream = cloudpickle.dumps([closure(), np.dtype("i4")])
    by_stream = locked(stream, None)
    assert "numpy" in by_stream
    assert locked(seen, None) == by_stream
    assert locked(list(seen), None) == by_stream


def test_a_module_made_at_run_time_is_pickled_whole():
    made = types.ModuleType("made_here")
    exec("import numpy\ndef f(x):\n    import scipy\n    return numpy.sum(x), scipy", vars(made))

    def query(x):
        return made.f(x)

    assert {"numpy", "scipy"} <= locked([], query).keys()


def test_the_snapshot_has_everything_and_no_secret(site):
    site.add("gitty", direct_url={"url": "https://me:hunter2@host/g.whl", "archive_info": {}})
    captured = capture_environment(pickle.dumps(1), None)
    text = json.dumps(captured.snapshot, allow_nan=False)
    assert captured.packages == ()
    assert captured.python == ".".join(map(str, sys.version_info[:3]))
    by_name = {entry["name"]: entry for entry in captured.snapshot["distributions"]}
    assert by_name["gitty"]["url"] == "https://host/g.whl"
    assert by_name["numpy"] == {**by_name["numpy"], "version": np.__version__, "origin": "index"}
    assert "hunter2" not in text
