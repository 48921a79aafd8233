"""What the platform keeps below ENVELOPE_HOME, and the flags that it starts Ray with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
import pytest

from envelope.errors import ClusterError
from envelope.settings import Settings
from ray_runtime import cluster
from ray_runtime.cluster_commands import variables
from ray_runtime.flags import (
    BLOCK_PORTS,
    NODE_FLAGS,
    PLUGIN,
    SERVE_FLAGS,
    InnerPorts,
    ingress_block,
    local_flags,
)
from ray_runtime.home import KEPT_RAY_LOGS, ClusterRecord, Home
from ray_runtime.processes import MARK

RECORD = ClusterRecord(
    address="192.0.2.7:6379",
    serve_url="http://127.0.0.1:8000",
    job_url="http://127.0.0.1:8265",
    started_at=datetime.now(UTC),
    serve_port=8000,
    ray_port=6379,
    job_port=8265,
    stats_port=8404,
    metrics_port=9101,
    inner=InnerPorts(fallback_http=8500, dashboard_metrics=44227),
)


@pytest.fixture
def place(home: Path) -> Iterator[Home]:
    place = Home(home)
    yield place
    place.forget()


def test_a_record_is_read_as_it_was_written(place: Home) -> None:
    place.prepare()
    assert place.read_record() is None
    place.write_record(RECORD)
    assert place.read_record() == RECORD
    place.forget()
    assert place.read_record() is None


def test_a_record_of_an_earlier_boot_is_none(place: Home) -> None:
    place.prepare()
    before = datetime.fromtimestamp(psutil.boot_time(), UTC) - timedelta(minutes=1)
    place.write_record(msgspec.structs.replace(RECORD, started_at=before))
    assert place.read_record() is None


def test_a_record_that_cannot_be_read_is_none(place: Home) -> None:
    place.prepare()
    (place.run / "cluster.json").write_text('{"address": "1.2.3.4:1"}')
    assert place.read_record() is None


def test_the_token_is_for_this_user_alone_and_stays(place: Home) -> None:
    place.prepare()
    token = place.token.read_text()
    assert len(token) == 64
    assert stat.S_IMODE(place.token.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.temp_dir.stat().st_mode) == 0o700
    place.prepare()
    assert place.token.read_text() == token


def test_a_socket_fits_however_long_the_home_is(tmp_path: Path) -> None:
    place = Home(tmp_path / ("long" * 60))
    node_id = "f" * 56
    # HAProxy binds `<path>.<pid>.tmp` first, and refuses more than 97 before that.
    assert len(f"{place.temp_dir}/h/{node_id}/metrics.sock") <= 97
    session = "session_2026-11-21_02-36-24_923718_4194304"
    assert len(f"{place.temp_dir}/{session}/sockets/plasma_store.10") <= 107


def test_a_temporary_folder_of_somebody_else_is_refused(place: Home, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place.temp_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match="belongs to another user"):
        place.prepare()
    place.temp_dir.unlink()


def test_the_lock_names_who_holds_it(place: Home) -> None:
    with place.locked("envelope up"):
        with pytest.raises(ClusterError) as caught, place.locked("envelope down"):
            pass
        assert str(caught.value).startswith(f"`envelope up` (pid {os.getpid()}) is under way for")
    with place.locked("envelope down"):
        pass


def test_the_last_logs_of_ray_are_kept(place: Home) -> None:
    for number in range(KEPT_RAY_LOGS + 2):
        place.prepare()
        logs = place.temp_dir / f"session_2026-01-0{number + 1}" / "logs"
        logs.mkdir(parents=True)
        (logs / "raylet.out").write_text(str(number))
        place.link_logs()
        place.forget()
    kept = sorted(place.logs.glob("ray*"))
    assert [path.name for path in kept] == [f"ray-2026-01-0{n}" for n in (3, 4, 5)]
    assert (kept[-1] / "raylet.out").read_text() == "4"
    assert not place.temp_dir.exists()


@pytest.mark.parametrize("home_id", ["0" * 12, "f" * 12, "123456789abc"])
def test_replicas_listen_below_the_ephemeral_ports(home_id: str) -> None:
    first = ingress_block(home_id)
    assert first >= 12_000 and first + BLOCK_PORTS <= 30_000


def test_haproxy_keeps_its_files_apart(tmp_path: Path) -> None:
    """Ray's default is one folder in /tmp for every cluster of the machine."""
    flags = local_flags(
        home_id="a" * 12, temp_dir=tmp_path, stats_port=1, metrics_port=2, inner=RECORD.inner
    )
    paths = [v for k, v in flags.items() if k.startswith("RAY_SERVE_HAPROXY") and "/" in v]
    assert len(paths) == 5
    assert all(path.startswith(f"{tmp_path}/h") for path in paths)


def test_serve_reads_flags_of_these_names() -> None:
    """Names that Serve does not know would be ignored in silence."""
    import ray

    text = (Path(ray.__file__).parent / "serve/_private/constants.py").read_text()
    flags = local_flags(
        home_id="a" * 12, temp_dir=Path("/x"), stats_port=1, metrics_port=2, inner=RECORD.inner
    )
    names = [name for name in {**SERVE_FLAGS, **flags} if name.startswith("RAY_SERVE")]
    assert len(names) > 10
    assert [name for name in names if f'"{name}"' not in text] == []


def test_ray_reads_flags_of_these_names() -> None:
    import ray

    root = Path(ray.__file__).parent
    sources = [
        "_private/ray_constants.py",
        "_private/utils.py",
        "_private/accelerators/accelerator.py",
        "_private/runtime_env/constants.py",
        "_private/runtime_env/agent/runtime_env_consts.py",
        "_common/usage/usage_constants.py",
        "dashboard/consts.py",
    ]
    text = "".join((root / name).read_text() for name in sources)
    others = set(NODE_FLAGS) - set(SERVE_FLAGS) | {"DASHBOARD_METRIC_PORT"}
    assert sorted(name for name in others if f'"{name}"' not in text) == []


def test_the_plugin_is_where_ray_looks_for_it() -> None:
    from ray._common.utils import import_attr
    from ray._private.runtime_env.plugin import RuntimeEnvPlugin

    assert issubclass(import_attr(PLUGIN), RuntimeEnvPlugin)


def test_another_clusters_address_and_token_do_not_get_in(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.9:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    environ = cluster.node_environment(Settings.read({}), place, RECORD.inner)
    assert "RAY_ADDRESS" not in environ and "RAY_AUTH_TOKEN" not in environ
    assert environ["RAY_AUTH_TOKEN_PATH"] == str(place.token)
    assert environ[MARK] == place.id


def test_settings_survive_the_way_to_another_process(settings: Settings) -> None:
    assert Settings.read(settings.environ()) == settings


def test_env_exports_what_rays_commands_read(place: Home, settings: Settings) -> None:
    place.prepare()
    place.write_record(RECORD)
    assert variables(settings) == {
        "ENVELOPE_HOME": str(settings.home),
        "RAY_ADDRESS": "192.0.2.7:6379",
        "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(place.token),
    }


def test_env_without_a_cluster_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(ClusterError, match="run `envelope up`"):
        variables(settings)


@pytest.mark.parametrize(
    "address, is_own",
    [
        pytest.param(None, True, id="not-set"),
        pytest.param("192.0.2.7:6379", True, id="ours-from-envelope-env"),
        pytest.param("192.0.2.8:6379", False, id="another"),
    ],
)
def test_ray_address_of_our_own_is_ours(place: Home, address: str | None, is_own: bool) -> None:
    place.prepare()
    place.write_record(RECORD)
    environ = {"ENVELOPE_HOME": str(place.path)} | ({"RAY_ADDRESS": address} if address else {})
    assert cluster.is_own(Settings.read(environ), place) is is_own


def test_nothing_runs_in_a_new_home_and_looking_creates_nothing(settings: Settings) -> None:
    found = cluster.status(settings)
    assert found.state == "stopped"
    assert found.processes == () and found.listeners == () and found.urls == {}
    assert not settings.home.exists()


def test_down_from_inside_the_platform_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, Home(settings.home).id)
    with pytest.raises(ClusterError, match="from a shell outside"):
        cluster.stop(settings)


def test_up_with_the_address_of_another_cluster_starts_none(settings: Settings) -> None:
    remote = Settings.read({**settings.environ(), "RAY_ADDRESS": "192.0.2.8:6379"})
    with pytest.raises(ClusterError, match="unset it to start a local one"):
        cluster.start(remote)
