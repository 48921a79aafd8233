import sys

import msgspec
import pytest

from envelope.environment import EnvironmentSpec, installed_packages, unmet
from envelope.manifest import Package

SPEC = EnvironmentSpec(
    python="3.11.7",
    platform="linux-x86_64",
    packages=(Package(name="pandas", version="2.2.3"),),
    constraints=("ray==2.60.0",),
    runtime_version="0.1.0",
)


@pytest.mark.parametrize(
    "installed, lines",
    [
        pytest.param({"pandas": "2.2.3", "extra": "1"}, [], id="satisfied"),
        pytest.param(
            {"pandas": "3.1.1"}, ["pandas: locked 2.2.3, installed 3.1.1"], id="other version"
        ),
        pytest.param({}, ["pandas: locked 2.2.3, not installed"], id="not installed"),
        pytest.param(
            {"pandas": "2.2.3+cu121"},
            ["pandas: locked 2.2.3, installed 2.2.3+cu121"],
            id="another build",
        ),
    ],
)
def test_unmet(installed, lines):
    assert unmet(SPEC.lock, installed) == lines


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"python": "3.11.8"}, id="python"),
        pytest.param({"platform": "linux-aarch64"}, id="platform"),
        pytest.param({"packages": (Package(name="pandas", version="2.2.2"),)}, id="lock"),
        pytest.param({"constraints": ()}, id="constraints"),
        pytest.param({"runtime_version": "0.1.1"}, id="runtime"),
    ],
)
def test_key_changes_with_every_part(change):
    assert msgspec.structs.replace(SPEC, **change).key != SPEC.key


def test_key_survives_the_store():
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=EnvironmentSpec).key == SPEC.key


def test_installed_packages_names_this_interpreter():
    versions = installed_packages()
    assert versions["msgspec"] == msgspec.__version__
    assert "model-envelope" in versions
    assert list(versions) == sorted(versions)


def test_installed_packages_sees_a_new_install(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    (site / "first-1.0.dist-info").mkdir(parents=True)
    (site / "first-1.0.dist-info" / "METADATA").write_text("Name: First\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert installed_packages()["first"] == "1.0"
    (site / "second-2.0.dist-info").mkdir()
    (site / "second-2.0.dist-info" / "METADATA").write_text("Name: Second\nVersion: 2.0\n")
    assert installed_packages()["second"] == "2.0"
