"""Building environments with the real uv, from wheels made here: no network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from envelope.environment import EnvironmentSpec, build_environment, is_ready, repack_wheel, uv
from envelope.environment.lock import file_lock
from envelope.errors import DependencyError, EnvironmentBuildError
from envelope.manifest import Package
from tests.wheels import write_wheel

PYTHON = ".".join(str(part) for part in sys.version_info[:3])


def spec(*packages: str, constraints: tuple[str, ...] = ()) -> EnvironmentSpec:
    pins = [line.partition("==") for line in packages]
    return EnvironmentSpec(
        python=PYTHON,
        platform="test",
        packages=tuple(Package(name=name, version=version) for name, _, version in pins),
        constraints=constraints,
        runtime_version="0",
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that packages come from, and a uv cache of this test's own."""
    folder = tmp_path / "wheels"
    write_wheel(folder, "alpha", "1.0", requires=["beta>=1"])
    write_wheel(folder, "beta", "1.0")
    write_wheel(folder, "beta", "2.0")
    write_wheel(folder, "gamma", "1.0", requires=["beta<2"])
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return folder


def says(python: Path, code: str) -> str:
    done = subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    return done.stdout.strip()


def test_builds_exactly_the_lock_and_nothing_of_this_environment(wheels, tmp_path):
    lines: list[str] = []
    python = build_environment(
        spec("alpha==1.0", "beta==1.0", constraints=("gamma==1.0",)),
        tmp_path / "envs",
        log=lines.append,
    )
    code = "import alpha, beta, gamma, sys; print(beta.__version__, sys.version.split()[0])"
    assert says(python, code) == f"1.0 {PYTHON}"
    with pytest.raises(subprocess.CalledProcessError):
        says(python, "import msgspec")
    assert any("gamma==1.0" in line for line in lines)


def test_is_built_once_and_used_again_without_uv(wheels, tmp_path, monkeypatch):
    first = build_environment(spec("beta==1.0"), tmp_path / "envs")
    ready = first.parents[1] / "READY"
    os.utime(ready, (0, 0))
    monkeypatch.setattr(uv, "find_uv", lambda: "/no/such/uv")
    assert build_environment(spec("beta==1.0"), tmp_path / "envs") == first
    assert time.time() - ready.stat().st_mtime < 60  # the time of its last use


def test_what_was_forced_together_is_forced_again(wheels, tmp_path):
    asked = spec("beta==2.0", "gamma==1.0")
    with pytest.raises(EnvironmentBuildError):
        build_environment(asked, tmp_path / "envs")
    beta, gamma = asked.packages
    forced = (msgspec.structs.replace(beta, is_forced=True), gamma)
    python = build_environment(msgspec.structs.replace(asked, packages=forced), tmp_path / "envs")
    assert says(python, "import beta, gamma; print(beta.__version__)") == "2.0"


def test_a_lock_from_another_platform_is_resolved_again_with_its_pins(wheels, tmp_path):
    """Another build of what the model names; what only one platform has or requires; old pins."""
    here = f"sys_platform == {sys.platform!r}"
    write_wheel(
        wheels, "delta", "1.0", requires=["beta", f"only-here; {here}", "gone; sys_platform == 'x'"]
    )
    write_wheel(wheels, "only-here", "1.0")
    write_wheel(wheels, "forced", "1.0")
    write_wheel(wheels, "forced", "2.0")
    write_wheel(wheels, "epsilon", "1.0", requires=["forced>=2"])
    saved = spec("delta==1.0+cu126", "beta==1.0", "gone==1.0", "epsilon==1.0", "forced==1.0")
    packages = tuple(
        msgspec.structs.replace(one, is_forced=one.name == "forced") for one in saved.packages
    )
    asked = msgspec.structs.replace(
        saved,
        packages=packages,
        locked_on="somewhere-else",
        transitive=("beta", "gone", "forced"),
    )
    python = build_environment(asked, tmp_path / "envs")
    code = (
        "import importlib.metadata as m; "
        "print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
    )
    assert says(python, code) == "beta==1.0 delta==1.0 epsilon==1.0 forced==1.0 only-here==1.0"
    with pytest.raises(EnvironmentBuildError, match=r"delta==1\.0\+cu126"):
        build_environment(msgspec.structs.replace(asked, locked_on=""), tmp_path / "envs")


def test_our_wheel_is_installed_without_its_dependencies(wheels, tmp_path):
    wheel = repack_wheel("model-envelope", tmp_path / "own")
    python = build_environment(spec("beta==1.0"), tmp_path / "envs", wheel=wheel)
    code = (
        "import importlib.metadata as m, importlib.util as u; "
        "print(m.version('model-envelope'), u.find_spec('envelope').origin, u.find_spec('msgspec'))"
    )
    version, origin, absent = says(python, code).split()
    assert (version, absent) == (wheel.name.split("-")[1], "None")
    assert Path(origin).is_relative_to(python.parents[1])


@pytest.mark.parametrize(
    "packages, constraints, words",
    [
        pytest.param(["beta==9.9"], (), ["there is no version of beta==9.9"], id="missing version"),
        pytest.param(["nosuch==1.0"], (), ["nosuch was not found"], id="missing package"),
        pytest.param(["beta==2.0"], ("gamma==1.0",), ["depend on beta<2"], id="conflict"),
    ],
)
def test_a_lock_that_cannot_be_had_fails_in_the_resolvers_own_words(
    wheels, tmp_path, packages, constraints, words
):
    asked = spec(*packages, constraints=constraints)
    started = time.monotonic()
    with pytest.raises(EnvironmentBuildError) as caught:
        build_environment(asked, tmp_path / "envs")
    assert time.monotonic() - started < 10
    text = " ".join(str(caught.value).split())
    assert all(word in text for word in words), text
    assert 0 < len(caught.value.output) <= 50
    assert asked.key in caught.value.summary
    assert not (tmp_path / "envs" / asked.key).exists()


def test_credentials_never_show_and_no_network_is_an_error(wheels, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(EnvironmentBuildError) as caught:
        build_environment(spec("elsewhere==1.0"), tmp_path / "envs")
    assert "127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_yanked_version_that_was_locked_is_built_and_told(wheels, tmp_path, monkeypatch):
    """Yanking keeps a version from new choices; an exact pin was chosen before."""
    page = tmp_path / "index" / "beta" / "index.html"
    page.parent.mkdir(parents=True)
    links = [
        f'<a href="{path.as_uri()}" {"data-yanked=broken" * ("-1.0-" in path.name)}>{path.name}</a>'
        for path in sorted(wheels.glob("beta-*"))
    ]
    page.write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", page.parents[1].as_uri())
    lines: list[str] = []
    python = build_environment(spec("beta==1.0"), tmp_path / "envs", log=lines.append)
    assert says(python, "import beta; print(beta.__version__)") == "1.0"
    assert any("`beta==1.0` is yanked" in line and "broken" in line for line in lines), lines


def can_mount() -> bool:
    return sys.platform == "linux" and not subprocess.call(
        ["unshare", "-rm", "true"], stderr=subprocess.DEVNULL
    )


@pytest.mark.skipif(not can_mount(), reason="a small disk is mounted in a namespace of its own")
def test_a_full_disk_is_told_with_its_remedy_and_nothing_stays(wheels, tmp_path):
    write_wheel(wheels, "large", "1.0", files={"large.py": "x = '" + "0" * 3_000_000 + "'"})
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(spec("large==1.0")))
    (tmp_path / "disk").mkdir()
    code = """
import os, msgspec
from pathlib import Path
from envelope.environment import EnvironmentSpec, build_environment
from envelope.errors import EnvironmentBuildError
spec = msgspec.json.decode(Path("spec.json").read_bytes(), type=EnvironmentSpec)
try:
    build_environment(spec, Path("disk/envs"))
except EnvironmentBuildError as exc:
    print(exc, exc.output, os.listdir("disk/envs"))
"""
    mount = 'mount -t tmpfs -o size=1200k tmpfs disk && exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"UV_CACHE_DIR": str(tmp_path / "disk" / "cache")},
        capture_output=True,
        text=True,
    )
    assert "the disk is full: " in done.stdout, done.stderr
    assert "`envelope environments --prune`" in done.stdout
    assert done.stdout.strip().endswith("() ['.locks']")


def test_a_half_built_environment_is_built_again(wheels, tmp_path):
    asked = spec("beta==1.0")
    target = tmp_path / "envs" / asked.key
    (target / "bin").mkdir(parents=True)
    (target / "bin" / "python").write_text("half")
    assert not is_ready(target)
    assert says(build_environment(asked, tmp_path / "envs"), "import beta; print(1)") == "1"


def test_many_ask_and_one_builds(wheels, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    counting = script(tmp_path, f'echo "$1 $2" >> {calls}\nexec {uv.find_uv()} "$@"')
    monkeypatch.setattr(uv, "find_uv", lambda: counting)
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(build_environment, spec("beta==1.0"), tmp_path / "e") for _ in "8threads"
        ]
    assert len({future.result() for future in asked}) == 1
    assert calls.read_text().count("pip install") == 1


def script(tmp_path: Path, body: str) -> str:
    path = tmp_path / "uv-script"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_bytecode_of_equal_packages_is_shared(wheels, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    first = build_environment(spec("beta==1.0"), tmp_path / "envs")
    compiled = Path(says(first, "import beta; print(beta.__cached__)"))
    second = build_environment(spec("alpha==1.0", "beta==1.0"), tmp_path / "envs")
    shared = second.parents[1] / compiled.relative_to(first.parents[1])
    assert shared.samefile(compiled)
    third = build_environment(spec("beta==2.0"), tmp_path / "envs")
    assert not (third.parents[1] / compiled.relative_to(first.parents[1])).exists()


def test_a_killed_builder_leaves_nothing_that_is_used(wheels, tmp_path):
    """Its uv lives on for a moment and still holds the lock, so that nobody builds beside it."""
    started = tmp_path / "started"
    slow = script(
        tmp_path,
        f'if [ "$1" = pip ]; then touch {started}; sleep 2; fi\nexec {uv.find_uv()} "$@"',
    )
    asked = spec("alpha==1.0", "beta==1.0")
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(asked))
    builder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
            import msgspec
            from pathlib import Path
            from envelope.environment import EnvironmentSpec, build_environment, uv
            uv.find_uv = lambda: {slow!r}
            spec = msgspec.json.decode(Path("spec.json").read_bytes(), type=EnvironmentSpec)
            build_environment(spec, Path("envs"))
            """)],
        cwd=tmp_path,
    )  # fmt: skip
    wait_for(started.exists)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    target = tmp_path / "envs" / asked.key
    assert target.exists() and not is_ready(target)
    with pytest.raises(TimeoutError), file_lock(target.parent / ".locks" / asked.key, timeout_s=0):
        pass
    python = build_environment(asked, tmp_path / "envs")
    assert says(python, "import alpha; print(1)") == "1"


def wait_for(condition, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "hangs",
    [
        pytest.param("exec sleep 60", id="itself"),
        pytest.param("sleep 60 & wait", id="in a child, as when a package is compiled"),
    ],
)
def test_a_uv_that_hangs_is_ended(wheels, tmp_path, monkeypatch, hangs):
    hanging = script(tmp_path, f"echo working; {hangs}")
    monkeypatch.setattr(uv, "find_uv", lambda: hanging)
    with pytest.raises(EnvironmentBuildError, match=r"took longer than(.|\n)*working"):
        build_environment(spec("beta==1.0"), tmp_path / "envs", timeout_s=0.1)


def test_uv_gives_way_to_what_answers_on_this_node(wheels, tmp_path, monkeypatch):
    telling = script(tmp_path, "echo niceness $(nice); exit 1")
    monkeypatch.setattr(uv, "find_uv", lambda: telling)
    with pytest.raises(EnvironmentBuildError, match="niceness 15"):
        build_environment(spec("beta==1.0"), tmp_path / "envs")


def test_uv_may_no_more_than_pip_may(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_ONLY_BINARY", ":all:")
    real = uv.find_uv()
    telling = script(tmp_path, f'[ "$1" = venv ] && exec {real} "$@"; echo "said: $@"; exit 1')
    monkeypatch.setattr(uv, "find_uv", lambda: telling)
    with pytest.raises(EnvironmentBuildError, match=r"said: pip install --no-index --no-build"):
        build_environment(spec("beta==1.0"), tmp_path / "envs")


def test_a_lock_that_is_never_freed_is_an_error(wheels, tmp_path):
    asked = spec("beta==1.0")
    freed = threading.Event()
    with file_lock(tmp_path / "envs" / ".locks" / asked.key, timeout_s=1):
        with pytest.raises(EnvironmentBuildError, match=r"held by another process for 0\.2 s"):
            build_environment(asked, tmp_path / "envs", timeout_s=0.2)
        freed.set()
    assert build_environment(asked, tmp_path / "envs").exists()


def test_a_place_that_cannot_be_written_is_an_error(wheels, tmp_path):
    (tmp_path / "envs").write_text("a file")
    with pytest.raises(EnvironmentBuildError, match="ENVELOPE_ENVIRONMENTS"):
        build_environment(spec("beta==1.0"), tmp_path / "envs")


def test_another_python_minor_is_refused_before_anything_is_built(wheels, tmp_path):
    with pytest.raises(DependencyError, match=r"saved with Python 2\.7\.18"):
        build_environment(
            msgspec.structs.replace(spec("beta==1.0"), python="2.7.18"), tmp_path / "envs"
        )
    assert not (tmp_path / "envs").exists()
