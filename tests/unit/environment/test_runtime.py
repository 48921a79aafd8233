from importlib import metadata
from pathlib import Path

import pytest

from envelope.capture.installed import Installed, InstalledDistribution, installed
from envelope.environment import (
    check_batch,
    check_python,
    runtime_requirements,
    runtime_roots,
    runtime_version,
)
from envelope.errors import DependencyError
from envelope.manifest import Package


def lock(**pins):
    return [Package(name=name, version=version) for name, version in pins.items()]


@pytest.fixture
def cluster(site):
    """engine needs wire and web; web needs wire, and parts which are free."""
    site.add("engine", "2.60.0", requires=["wire>=3.20.3,<9", 'web; extra == "serve"', "clock"])
    site.add("web", "1.4", requires=["wire>=4", "socket>=2"])
    site.add("wire", "7.36")
    site.add("socket", "2.5")
    site.add("clock", "1.0")
    return site


@pytest.mark.parametrize(
    "pins, lines",
    [
        pytest.param(
            {},
            ["clock==1.0", "engine[serve]==2.60.0", "socket==2.5", "web==1.4", "wire==7.36"],
            id="an empty lock gets the cluster's versions",
        ),
        pytest.param(
            {"wire": "5.0", "numpy": "2.0"},
            ["clock==1.0", "engine[serve]==2.60.0", "socket==2.5", "web==1.4"],
            id="what the lock pins is left to it",
        ),
        pytest.param(
            {"wire": "3.21"},
            ["clock==1.0", "engine[serve]==2.60.0", "socket==2.5"],
            id="a package of ours that cannot live with the lock is left to the resolver",
        ),
        pytest.param(
            {"engine": "2.60.0"},
            ["clock==1.0", "engine[serve]==2.60.0", "socket==2.5", "web==1.4", "wire==7.36"],
            id="a root in the lock keeps its extras",
        ),
        pytest.param(
            {"wire": "4.0rc1"},
            ["clock==1.0", "engine[serve]==2.60.0", "socket==2.5"],
            id="pre-releases are versions like others",
        ),
    ],
)
def test_runtime_requirements(cluster, pins, lines):
    assert list(runtime_requirements(lock(**pins), roots=["engine[serve]"])) == lines


@pytest.mark.parametrize(
    "pins, words",
    [
        pytest.param(
            {"wire": "3.19"},
            ["the model needs wire==3.19", "engine 2.60.0 needs wire<9,>=3.20.3", "save the model"],
            id="a requirement of the engine",
        ),
        pytest.param(
            {"engine": "2.50.0"},
            ["the model needs engine==2.50.0", "the cluster runs engine 2.60.0"],
            id="the engine itself",
        ),
    ],
)
def test_a_conflict_names_both_sides(cluster, pins, words):
    with pytest.raises(DependencyError) as caught:
        runtime_requirements(lock(**pins), roots=["engine[serve]"])
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "pins, lines",
    [
        pytest.param({}, ["fsspec==2026.9", "s3fs==2026.9"], id="the cluster's"),
        pytest.param({"fsspec": "2024.6"}, ["s3fs"], id="another fsspec: whichever s3fs fits it"),
        pytest.param({"s3fs": "2024.6", "fsspec": "2024.6"}, [], id="the model's own"),
    ],
)
def test_a_filesystem_of_the_store_gives_way_to_the_lock(pins, lines):
    here = Installed(
        {
            "s3fs": described("s3fs", "2026.9", "fsspec==2026.9"),
            "fsspec": described("fsspec", "2026.9"),
        }
    )
    assert list(runtime_requirements(lock(**pins), roots=["s3fs"], here=here)) == lines


@pytest.mark.parametrize(
    "pins, words",
    [
        pytest.param({"pandas": "2.2.2"}, "pandas==2.2.2, ray[data] 2.60.0 needs pandas>=2.2.3"),
        pytest.param({"pyarrow": "16.1.0"}, "pyarrow==16.1.0, ray[data] 2.60.0 needs pyarrow>=17"),
    ],
)
def test_what_ray_data_cannot_live_with_is_served_and_not_batch_scored(pins, words):
    pytest.importorskip("ray")
    with pytest.raises(DependencyError) as caught:
        check_batch(lock(**pins))
    assert f"the model needs {words}" in str(caught.value)
    lines = runtime_requirements(lock(**pins))
    assert "ray[default,serve]==2.60.0" in lines
    everything = {line.partition("==")[0] for line in runtime_requirements(lock())}
    ours = {line.partition("==")[0] for line in lines}
    assert everything - ours == {"ray[data,default,serve]", *pins}
    with pytest.raises(
        DependencyError, match=r"orjson==3\.9, model-envelope .* needs orjson>=3\.10"
    ):
        runtime_requirements(lock(**pins, orjson="3.9"))


def test_what_ray_data_can_live_with_is_batch_scored():
    check_batch(lock(numpy="2.0.0", pandas="2.2.3", pyarrow="17.0.0"))


def described(name, version, *requires):
    head = "\n".join(f"Requires-Dist: {line}" for line in requires)
    return InstalledDistribution(name, version, metadata.PathDistribution(Path("/")), head)


def test_a_runtime_that_is_not_installed_is_an_error():
    with pytest.raises(DependencyError, match="no-such-engine is not installed"):
        runtime_requirements([], roots=["no-such-engine[serve]"])


def test_the_real_runtime_pins_what_is_installed_here():
    pytest.importorskip("ray")
    lines = runtime_requirements(lock(numpy="2.0.0"))
    names = {line.partition("==")[0].partition("[")[0] for line in lines}
    assert {"ray", "cloudpickle", "msgspec", "pyarrow", "fsspec"} <= names
    assert {"numpy", "model-envelope", "pytest"}.isdisjoint(names)
    versions = installed().versions
    assert f"msgspec=={versions['msgspec']}" in lines


def test_store_filesystems_of_the_node_are_part_of_the_runtime(site):
    assert "gcsfs" not in runtime_roots()
    site.add("gcsfs")
    assert "gcsfs" in runtime_roots()


@pytest.mark.parametrize(
    "store_url, pins, kept",
    [
        pytest.param("file:///store", {}, True, id="tables may lie there"),
        pytest.param("file:///store", {"dates": "4"}, False, id="it would rule out the model"),
        pytest.param("s3://bucket/store", {"dates": "4"}, True, id="the store lies there"),
    ],
)
def test_a_filesystem_that_no_store_needs_gives_way(store_url, pins, kept):
    here = Installed(
        {
            "s3fs": described("s3fs", "2026.9", "client"),
            "client": described("client", "1.0", "dates<3"),
            "dates": described("dates", "2.0"),
        }
    )
    assert ("s3fs" in runtime_roots(lock(**pins), store_url=store_url, here=here)) is kept


@pytest.mark.parametrize(
    "locked, running",
    [
        pytest.param("3.12.1", "3.11.7", id="older here"),
        pytest.param("3.1.9", "3.11.7", id="by number, not by text"),
    ],
)
def test_another_python_minor_is_refused_with_the_remedy(locked, running):
    with pytest.raises(
        DependencyError, match=f"Python {locked}.*runs Python {running}.*save it with"
    ):
        check_python(locked=locked, running=running)


def test_another_patch_of_python_is_accepted():
    check_python(locked="3.11.9", running="3.11.7")


def test_runtime_version_of_a_checkout_follows_its_files(site, tmp_path):
    site.add("steady", "1.0")
    assert runtime_version("steady") == "1.0"
    assert runtime_version().startswith(installed().versions["model-envelope"])
    assert runtime_version() == runtime_version()
    with pytest.raises(DependencyError, match="not-there is not installed"):
        runtime_version("not-there")
