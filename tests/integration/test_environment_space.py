"""Room on a node: real environments of tiny wheels, real processes in them, real locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from envelope.environment import build_environment, claim, look, sweep
from envelope.environment.lock import file_lock
from envelope.environment.use import GRACE_S
from envelope.environment_commands import environments
from tests.integration.test_environment_build import spec, wait_for, wheels

__all__ = ["wheels"]  # the fixture

LATER = GRACE_S + 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "envs"


def build(root: Path, package: str, *, used_ago_s: float = 0) -> Path:
    target = build_environment(spec(package), root).parents[1]
    then = time.time() - used_ago_s
    os.utime(target / "READY", (then, then))
    os.utime(target / "IN_USE", (then, then))
    return target


def keys(held) -> list[str]:
    return [one.key for one in held]


def test_the_least_recently_used_goes_first(wheels, root):
    old = build(root, "beta==1.0", used_ago_s=3 * LATER)
    older = build(root, "beta==2.0", used_ago_s=4 * LATER)
    new = build(root, "gamma==1.0", used_ago_s=2 * LATER)
    held = look(root)
    assert keys(held) == [new.name, old.name, older.name]
    assert {one.state for one in held} == {"free"}
    room = held[0].added_bytes + held[1].added_bytes
    assert keys(sweep(root, limit_bytes=room)) == [older.name]
    assert keys(look(root)) == [new.name, old.name]
    assert sweep(root, limit_bytes=room) == []
    assert build_environment(spec("beta==2.0"), root) == older / "bin" / "python"


def test_what_was_just_asked_for_stays(wheels, root):
    target = build(root, "beta==1.0", used_ago_s=LATER)
    assert claim(target)
    assert sweep(root, limit_bytes=0) == []
    assert claim(root / ("0" * 32)) is None


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import time; print(1, flush=True); time.sleep(60)", id="itself"),
        pytest.param(
            "import os, time\n"
            "if os.fork(): os._exit(0)\n"
            "print(os.getpid(), flush=True); time.sleep(60)",
            id="what it forked, after its own end",
        ),
    ],
)
def test_what_a_process_runs_in_stays_until_it_is_killed(wheels, root, code):
    target = build(root, "beta==1.0")
    # -I and another folder, as the proof starts it; an empty environment, as anyone may.
    process = subprocess.Popen(
        [target / "bin" / "python", "-I", "-c", code], cwd="/", env={}, stdout=subprocess.PIPE
    )
    assert process.stdout
    said = int(process.stdout.readline())
    ago = time.time() - LATER
    os.utime(target / "READY", (ago, ago))
    assert sweep(root, limit_bytes=0) == []
    (held,) = look(root)
    assert held.state == "in use"
    assert held.last_used_at and time.time() - held.last_used_at < 60  # seen to run
    os.kill(process.pid if said == 1 else said, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_for(lambda: look(root)[0].state == "free")
    assert keys(sweep(root, limit_bytes=0)) == [target.name]
    assert not target.exists()


def test_half_built_ones_go_and_those_that_are_being_built_stay(wheels, root):
    half, whole = root / ("a" * 32), root / ("b" * 32)
    for target in (half, whole):
        (target / "bin").mkdir(parents=True)
    (root / f".removed-{'c' * 32}-1").mkdir()  # a sweep was killed
    with file_lock(root / ".locks" / whole.name, timeout_s=1):
        assert {one.key: one.state for one in look(root)} == {
            half.name: "half built",
            whole.name: "being built",
        }
        assert keys(sweep(root, limit_bytes=10**12)) == [half.name]
    assert sorted(path.name for path in root.iterdir()) == [".locks", whole.name]


def test_an_environment_that_does_not_say_who_uses_it_stays(wheels, root):
    target = build(root, "beta==1.0", used_ago_s=LATER)
    (target / "IN_USE").unlink()
    assert sweep(root, limit_bytes=0) == []
    assert [one.state for one in look(root)] == ["unknown"]


def test_files_count_once_however_many_environments_have_them(wheels, root):
    """And what uv's cache has too is not given back."""
    from tests.wheels import write_wheel

    megabyte = "x = '" + "0" * 1_000_000 + "'\n"
    write_wheel(wheels, "delta", "1.0", files={"delta.py": megabyte})
    first = build(root, "delta==1.0", used_ago_s=LATER)
    second = build_environment(spec("delta==1.0", "beta==1.0"), root).parents[1]
    held = {one.key: one for one in look(root)}
    assert held[first.name].size_bytes > 1_000_000 < held[second.name].size_bytes
    assert held[first.name].added_bytes < 500_000 > held[first.name].freed_bytes
    on_disk = int(subprocess.check_output(["du", "-s", "--block-size=1", first]).split()[0])
    folders = sum(path.lstat().st_blocks * 512 for path in first.rglob("*") if path.is_dir())
    folders += first.lstat().st_blocks * 512
    assert held[first.name].size_bytes == on_disk - folders


def test_who_is_given_a_python_can_start_it_while_others_remove(wheels, root):
    asking = f"""
import os, subprocess, sys, time
from pathlib import Path
from envelope.environment import build_environment
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.integration.test_environment_build import spec
for i in range(6):
    python = build_environment(spec("beta==1.0"), Path({str(root)!r}))
    subprocess.run([python, "-I", "-c", "import beta"], check=True)
    os.utime(python.parents[1] / "READY", (0, 0))  # as if that had been long ago
    time.sleep(0.1 * (i % 3))
"""
    asker = subprocess.Popen([sys.executable, "-c", asking])
    removed = 0
    while asker.poll() is None:
        removed += len(sweep(root, limit_bytes=0))
    assert asker.returncode == 0
    assert removed


def test_the_command_lists_and_prunes(wheels, root, monkeypatch):
    monkeypatch.setenv("ENVELOPE_ENVIRONMENTS", str(root))
    assert "0 in" in CliRunner().invoke(environments).output
    target = build(root, "beta==1.0", used_ago_s=LATER)
    shown = CliRunner().invoke(environments)
    assert f"{target.name}  free " in shown.output
    assert "the limit is 20,000 MB" in shown.output
    (line,) = CliRunner().invoke(environments, ["--json"]).stdout.splitlines()
    assert json.loads(line)["key"] == target.name
    assert "0 removed" in CliRunner().invoke(environments, ["--prune"]).output
    assert target.exists()
    assert "1 removed" in CliRunner().invoke(environments, ["--prune", "--max-bytes=0"]).output
    assert not target.exists()
    assert CliRunner().invoke(environments, ["--max-bytes=0"]).exit_code == 2
