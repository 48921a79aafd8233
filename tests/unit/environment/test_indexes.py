import os
import sys

import pytest

from envelope.environment.indexes import (
    hide_credentials,
    index_variables,
    pip_options,
    read_pip_files,
)


@pytest.mark.parametrize(
    "environ, files, options",
    [
        pytest.param({}, [], {}, id="nothing"),
        pytest.param(
            {},
            ["[global]\nindex-url = https://a\ntimeout = 5", "[global]\nindex_url = https://b"],
            {"index-url": "https://b", "timeout": "5"},
            id="a later file wins, and both spellings are one option",
        ),
        pytest.param(
            {},
            ["[install]\nindex-url = https://a", "[global]\nindex-url = https://b"],
            {"index-url": "https://a"},
            id="install wins over global, also of a later file",
        ),
        pytest.param(
            {"PIP_INDEX_URL": "https://env", "PIP_DEFAULT_TIMEOUT": "9", "PIP_CERT": ""},
            ["[global]\nindex-url = https://a\ncert = /c.pem"],
            {"index-url": "https://env", "timeout": "9", "cert": "/c.pem"},
            id="variables win, empty ones do not",
        ),
        pytest.param({}, ["not an ini file"], {}, id="unreadable"),
        pytest.param(
            {},
            ["[global]\nextra-index-url =\n    https://a\n    https://b"],
            {"extra-index-url": "\nhttps://a\nhttps://b"},
            id="several lines",
        ),
    ],
)
def test_pip_options(environ, files, options):
    assert pip_options(environ, files) == options


@pytest.mark.parametrize(
    "options, environ, variables",
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param(
            {"index-url": "https://u:p@a/simple"},
            {},
            {"UV_DEFAULT_INDEX": "https://u:p@a/simple"},
            id="index",
        ),
        pytest.param(
            {"extra-index-url": "\nhttps://a\nhttps://b"},
            {},
            {"UV_INDEX": "https://a https://b", "UV_INDEX_STRATEGY": "unsafe-best-match"},
            id="extra indexes: all are asked, as pip does",
        ),
        pytest.param(
            {"extra-index-url": "https://a", "index-url": "https://b"},
            {"UV_INDEX_STRATEGY": "first-index", "UV_DEFAULT_INDEX": "https://own"},
            {"UV_INDEX": "https://a"},
            id="uv's own settings win",
        ),
        pytest.param(
            {"find-links": "https://a/links /no/such/folder"},
            {},
            {"UV_FIND_LINKS": "https://a/links"},
            id="folders that are not there are left out: pip only warns",
        ),
        pytest.param(
            {
                "no-index": "true",
                "only-binary": ":all:",
                "cert": "/c.pem",
                "client-cert": "/k.pem",
                "trusted-host": "a b",
                "proxy": "http://p",
                "timeout": "60",
                "keyring-provider": "subprocess",
            },
            {},
            {
                "UV_NO_INDEX": "1",
                "UV_NO_BUILD": "1",
                "SSL_CERT_FILE": "/c.pem",
                "SSL_CLIENT_CERT": "/k.pem",
                "UV_INSECURE_HOST": "a b",
                "ALL_PROXY": "http://p",
                "UV_HTTP_TIMEOUT": "60",
                "UV_KEYRING_PROVIDER": "subprocess",
            },
            id="the rest",
        ),
        pytest.param({"no-index": "false"}, {}, {}, id="no-index off"),
    ],
)
def test_index_variables(options, environ, variables):
    assert index_variables(environ, options) == variables


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of Linux")
def test_pip_files_are_read_in_pips_order(tmp_path):
    for path, text in {
        "xdg/pip/pip.conf": "1",
        "home/.pip/pip.conf": "2",
        "home/.config/pip/pip.conf": "3",
        "own.conf": "4",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    environ = {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
        "PIP_CONFIG_FILE": str(tmp_path / "own.conf"),
    }
    own = [text for text in read_pip_files(environ) if text in "1234"]
    assert own == ["1", "2", "3", "4"]
    assert read_pip_files({**environ, "PIP_CONFIG_FILE": os.devnull}) == []


def test_hide_credentials():
    text = "Failed to fetch: `https://me:hunter2@host/simple/x/` and https://host/y"
    assert hide_credentials(text) == (
        "Failed to fetch: `https://****@host/simple/x/` and https://host/y"
    )
