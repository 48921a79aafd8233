"""What the local platform keeps below ENVELOPE_HOME: its record, its token, its lock, its logs.

run/cluster.json   the record of the running cluster; written whole, last
run/token          Ray's authentication token, for this user alone
run/lock           held while the platform is being started or stopped
run/empty/         where our processes start, so that they pick up nothing from their folder
logs/              ours; logs/ray is Ray's own while it runs, logs/ray-<time> afterwards
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec
import psutil

from envelope.errors import ClusterError
from ray_runtime.flags import InnerPorts
from ray_runtime.processes import home_id, temp_dir

KEPT_RAY_LOGS = 3  # folders; one is 1 to 50 MB


class ClusterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `start` leaves for every later command.

    address: of Ray's control store, host:port.
    """

    address: str
    serve_url: str
    job_url: str
    started_at: datetime
    serve_port: int
    ray_port: int
    job_port: int
    stats_port: int
    metrics_port: int
    inner: InnerPorts

    @property
    def ports(self) -> list[int]:
        """Every port that was chosen before the start, by us or by the user."""
        return [
            self.serve_port,
            self.ray_port,
            self.job_port,
            self.stats_port,
            self.metrics_port,
            self.inner.fallback_http,
            self.inner.dashboard_metrics,
        ]


class Home:
    """The places of one ENVELOPE_HOME. Reading its attributes creates nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = home_id(path)
        self.run = path / "run"
        self.logs = path / "logs"
        self.empty = self.run / "empty"
        self.token = self.run / "token"
        self.temp_dir = temp_dir(self.id)
        self._record = self.run / "cluster.json"
        self._lock = self.run / "lock"

    def prepare(self) -> None:
        """Create the folders and the token. Raises ClusterError where that is not safe."""
        for folder in (self.run, self.logs, self.empty):
            folder.mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o700)
        self._make_temp_dir()
        if not self.token.exists():
            # Exclusively and for this user alone from its first byte on.
            with open(os.open(self.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
                f.write(secrets.token_hex(32))

    def read_record(self) -> ClusterRecord | None:
        """Return the record of a start since this machine booted, None if there is none."""
        try:
            record = msgspec.json.decode(self._record.read_bytes(), type=ClusterRecord)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:  # of another version of ours: `find_processes` needs none
            return None
        return None if record.started_at.timestamp() < psutil.boot_time() else record

    def write_record(self, record: ClusterRecord) -> None:
        """Write the record so that a reader sees all of it or the one before."""
        new = self._record.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        new.replace(self._record)

    def forget(self) -> None:
        """Remove the record and the temporary folder; keep Ray's logs."""
        self._record.unlink(missing_ok=True)
        self._keep_logs()
        shutil.rmtree(self.temp_dir, ignore_errors=True)

    def link_logs(self) -> None:
        """Let logs/ray lead to what Ray is writing now."""
        link = self.logs / "ray"
        link.unlink(missing_ok=True)
        link.symlink_to(self.temp_dir / "session_latest" / "logs")

    @contextmanager
    def locked(self, doing: str) -> Iterator[None]:
        """Hold the lock of this home. Raises ClusterError naming who holds it already."""
        import fcntl  # here, because Windows has none, and imports this module

        self.run.mkdir(parents=True, exist_ok=True)
        with open(self._lock, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                file.seek(0)
                raise ClusterError(
                    f"{file.read() or 'another command'} is under way for {self.path}; "
                    "wait until it has ended, then look with `envelope status`"
                ) from exc
            file.truncate(0)
            file.write(f"`{doing}` (pid {os.getpid()})")
            file.flush()
            yield
            file.truncate(0)

    def _make_temp_dir(self) -> None:
        with suppress(FileExistsError):
            self.temp_dir.mkdir(mode=0o700)
        found = self.temp_dir.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ClusterError(
                f"{self.temp_dir} belongs to another user, so Ray's sockets cannot lie there; "
                "remove it, or set ENVELOPE_HOME to another folder"
            )
        self.temp_dir.chmod(0o700)

    def _keep_logs(self) -> None:
        (self.logs / "ray").unlink(missing_ok=True)
        for session in sorted(self.temp_dir.glob("session_2*/logs")):
            shutil.move(session, self.logs / session.parent.name.replace("session_", "ray-"))
        kept = sorted(path for path in self.logs.glob("ray-2*") if path.is_dir())
        for folder in kept[:-KEPT_RAY_LOGS]:
            shutil.rmtree(folder, ignore_errors=True)
