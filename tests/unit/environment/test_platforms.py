import pytest

from envelope.environment import unmet
from envelope.environment.platforms import Lock, lock_for
from envelope.manifest import Package

HERE, MAC = "linux-x86_64", "darwin-arm64"
TORCH = Package(name="torch", version="2.13.0+cu126")
NUMPY = Package(name="numpy", version="2.4.6", is_forced=True)
CUDA = Package(name="nvidia-cublas-cu12", version="12.6.4.1")


def test_on_its_own_platform_a_lock_is_exact():
    lock = lock_for((TORCH, NUMPY), ("numpy",), locked_on=HERE, platform=HERE)
    assert lock == Lock(packages=(TORCH, NUMPY))


def test_elsewhere_what_others_require_is_preferred_and_builds_do_not_count():
    lock = lock_for((CUDA, NUMPY, TORCH), ("numpy", CUDA.name), locked_on=HERE, platform=MAC)
    assert lock == Lock(
        packages=(Package(name="torch", version="2.13.0"),),
        preferred=(CUDA, NUMPY),
        is_exact=False,
    )


@pytest.mark.parametrize(
    "origin, kept",
    [
        pytest.param("https://x/a-1.0-cp311-cp311-macosx_11_0_arm64.whl#sha256=0", False, id="mac"),
        pytest.param("https://x/a-1.0-py3-none-any.whl#sha256=0", True, id="any"),
        pytest.param("https://x/a-1.0.tar.gz", True, id="sources"),
        pytest.param("git+https://x/a@abc", True, id="git"),
    ],
)
def test_a_wheel_of_one_platform_gives_way_to_the_version(origin, kept):
    package = Package(name="a", version="1.0", origin=origin)
    (found,) = lock_for((package,), (), locked_on=MAC, platform=HERE).packages
    assert found.origin == (origin if kept else None)


@pytest.mark.parametrize(
    "installed, lines",
    [
        pytest.param({"torch": "2.13.0+cpu"}, [], id="another build, and what is not required"),
        pytest.param({"torch": "2.13.0", "numpy": "2.4.6"}, [], id="the preferred version"),
        pytest.param(
            {"torch": "2.13.0", "numpy": "2.4.5"},
            ["numpy: locked 2.4.6, installed 2.4.5"],
            id="another than the preferred",
        ),
        pytest.param({}, ["torch: locked 2.13.0, not installed"], id="what the model names"),
    ],
)
def test_what_is_unmet_of_a_lock_from_elsewhere(installed, lines):
    lock = lock_for((NUMPY, TORCH), ("numpy",), locked_on=MAC, platform=HERE)
    assert unmet(lock, installed) == lines
