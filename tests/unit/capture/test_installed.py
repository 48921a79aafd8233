import json

import pytest

from envelope.capture.installed import Origin, installed, parse_origin, without_credentials


@pytest.mark.parametrize(
    "record, installer, origin",
    [
        pytest.param(
            {
                "url": "https://token@github.com/a/b.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc123", "requested_revision": "main"},
            },
            "pip",
            Origin(kind="vcs", url="git+https://github.com/a/b.git@abc123"),
            id="git, credentials dropped",
        ),
        pytest.param(
            {
                "url": "ssh://git@github.com/a/b.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc123"},
                "subdirectory": "python",
            },
            "pip",
            Origin(kind="vcs", url="git+ssh://git@github.com/a/b.git@abc123#subdirectory=python"),
            id="git over ssh, in a subdirectory",
        ),
        pytest.param(
            {"url": "https://x.org/b-1.whl", "archive_info": {"hashes": {"sha256": "00ff"}}},
            "pip",
            Origin(kind="url", url="https://x.org/b-1.whl#sha256=00ff"),
            id="wheel on the web",
        ),
        pytest.param(
            {"url": "file:///home/me/b", "dir_info": {"editable": True}},
            "pip",
            Origin(kind="editable", url="file:///home/me/b"),
            id="editable",
        ),
        pytest.param(
            {"url": "file:///home/me/b-1.whl", "archive_info": {}},
            "pip",
            Origin(kind="path", url="file:///home/me/b-1.whl"),
            id="wheel on this machine",
        ),
        pytest.param(
            {"url": "file:///home/conda/feedstock_root/b/work", "dir_info": {}},
            "conda",
            Origin(kind="conda"),
            id="built by conda: the build machine's folder says nothing",
        ),
    ],
)
def test_parse_origin(record, installer, origin):
    assert parse_origin(json.dumps(record), installer=installer) == origin


@pytest.mark.parametrize(
    "url, safe",
    [
        pytest.param("https://u:p@host/x", "https://host/x", id="user and password"),
        pytest.param("https://token@host/x", "https://host/x", id="token"),
        pytest.param("ssh://git@host/x", "ssh://git@host/x", id="ssh user"),
        pytest.param("ssh://git:pw@host/x", "ssh://host/x", id="ssh password"),
        pytest.param("git@github.com:a/b.git", "git@github.com:a/b.git", id="scp form"),
        pytest.param("https://host:8443/x", "https://host:8443/x", id="port"),
        pytest.param(
            "https://host/x.whl?raw=1&X-Amz-Signature=ab&sig=c&access_token=d#sha256=e",
            "https://host/x.whl?raw=1#sha256=e",
            id="signed",
        ),
        pytest.param("https://conda.host/t/to-ken/ours", "https://conda.host/ours", id="conda"),
        pytest.param("file:///t/a/x.whl", "file:///t/a/x.whl", id="a folder"),
        pytest.param("manual__2026-01-01T00:00:00", "manual__2026-01-01T00:00:00", id="no url"),
    ],
)
def test_without_credentials(url, safe):
    assert without_credentials(url) == safe


@pytest.mark.parametrize(
    "module, owners",
    [
        pytest.param("acme", [], id="the namespace itself"),
        pytest.param("acme.storage", ["acme-storage"], id="a part"),
        pytest.param("acme.storage.client", ["acme-storage"], id="inside a part"),
        pytest.param("acme.auth.Token", ["acme-auth"], id="a name inside a module"),
        pytest.param("acme.fast", ["acme-auth"], id="a compiled module"),
        pytest.param("acme.nowhere", [], id="no such part"),
        pytest.param("alone.anything.at_all", ["alone"], id="a top level of one distribution"),
        pytest.param("unknown", [], id="nobody's"),
    ],
)
def test_owners(site, module, owners):
    site.add("acme-storage", files={"acme/storage/__init__.py": "", "acme/storage/client.py": ""})
    site.add(
        "acme-auth", files={"acme/auth.py": "", "acme/fast.cpython-311-x86_64-linux-gnu.so": ""}
    )
    site.add("alone")
    assert [distribution.name for distribution in installed().owners(module)] == owners


def test_names_are_normalised_and_versions_keep_their_build_tag(site):
    site.add("Big.Torch_Thing", "2.13.0+cu121", files={"torch_thing.py": ""})
    found = installed().get("big-torch-thing")
    assert (found.name, found.version) == ("big-torch-thing", "2.13.0+cu121")
    assert found.top_levels == {"torch_thing"}


def test_requirements_that_pip_skips_are_skipped(site):
    site.add("old", requires=["numpy>=1", "broken ==> 3", 'win; sys_platform == "win32"'])
    assert [r.name for r in installed().get("old").requires] == ["numpy", "win"]
