import os

import pytest

from envelope.environment.uv import cache_dir, find_uv, uv_environ


def test_uv_is_the_one_of_its_package():
    assert os.access(find_uv(), os.X_OK)


@pytest.mark.parametrize(
    "environ, expected",
    [
        pytest.param({"UV_CACHE_DIR": "{tmp}/a"}, "{tmp}/a", id="uv's own setting"),
        pytest.param({"XDG_CACHE_HOME": "{tmp}/b", "HOME": "/"}, "{tmp}/b/uv", id="XDG"),
        pytest.param({"HOME": "{tmp}/c"}, "{tmp}/c/.cache/uv", id="home"),
        pytest.param({}, "{tmp}/envs/.uv-cache", id="no home"),
        pytest.param({"HOME": "/proc"}, "{tmp}/envs/.uv-cache", id="another file system"),
    ],
)
def test_the_cache_lies_where_files_can_be_linked_from(tmp_path, environ, expected):
    environ = {name: value.format(tmp=tmp_path) for name, value in environ.items()}
    assert str(cache_dir(environ, near=tmp_path / "envs")) == expected.format(tmp=tmp_path)


def test_what_belongs_to_the_caller_is_not_handed_on(tmp_path):
    environ = uv_environ(
        {
            "PATH": "/bin",
            "HOME": str(tmp_path),
            "VIRTUAL_ENV": "/somewhere",
            "PYTHONPATH": "/somewhere",
            "UV_CONSTRAINT": "/constraints.txt",
            "PIP_INDEX_URL": "https://index/simple",
            "PIP_CONFIG_FILE": os.devnull,
        },
        cache_near=tmp_path,
    )
    assert {"VIRTUAL_ENV", "PYTHONPATH", "UV_CONSTRAINT"}.isdisjoint(environ)
    assert environ["UV_DEFAULT_INDEX"] == "https://index/simple"
    assert environ["PATH"] == "/bin"
