"""What tests run in place of Ray Serve and of time: they fail as the real ones do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Literal

from controller.apply import Prepared
from controller.state import App
from envelope.errors import ClusterError, ConfigError, Deposed
from ray_runtime.jobs import Job, JobSpec
from ray_runtime.traffic import Answers, Split, Tally, Traffic

ROUTING_S = 0.4
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(slots=True, eq=False)
class FakeClock:
    """A clock that stands still until it is moved. Every look moves it by a microsecond, so that
    times which the registry orders by differ."""

    now: datetime = START

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def monotonic(self) -> float:
        return (self() - START).total_seconds()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


Kind = Literal["starts", "fails", "hangs"]


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How the replicas of an envelope start and end."""

    kind: Kind = "starts"
    start_s: float = 5.0
    drain_s: float = 2.0
    message: str = "the sample is answered differently"


@dataclass(slots=True, kw_only=True)
class _Replica:
    envelope_id: str
    version: str
    ready_at: datetime | None  # None: never
    fails: bool
    routed_at: datetime | None = None  # runs since ROUTING_S before
    stopped_at: datetime | None = None  # draining until then


@dataclass(slots=True, kw_only=True)
class _FakeApp:
    target: Prepared
    replicas: list[_Replica] = field(default_factory=list)
    failure: str | None = None
    deleted_at: datetime | None = None  # draining until then
    is_scaled: bool = False  # its number of replicas is what load makes of it, since it was none
    is_asleep: bool = False

    def running(self) -> list[_Replica]:
        return [each for each in self.replicas if each.routed_at and each.stopped_at is None]


class FakeServe:
    """Serve as the controller sees it, with one replica per application.

    A new version starts beside the old one, which answers until then (max_surge_percent=100); after
    a start that failed the old one goes on, the application is "failed" and nothing is tried again
    until there is another target; a deleted application answers what it has begun. The same target
    twice touches nothing. The proxy learns of a new replica a little after Serve says it runs.
    What sleeps has no replica; whoever asks it waits for one, also the controller.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.usual = Behaviour()
        self.starts: list[tuple[str, str]] = []  # (deployment, envelope) of every replica started
        self.is_down = False
        self._epoch = 0
        self._clock = clock
        self._apps: dict[str, _FakeApp] = {}
        self._splits: dict[str, Split] = {}
        self._tallies: dict[str, Tally] = {}
        self._countings: dict[str, int] = {}
        self._numbers = count()

    # --- what the controller calls

    def observe(self) -> Mapping[str, App]:
        self._check()
        return {name: self._describe(app) for name, app in self._apps.items()}

    def answering(self, deployments: Sequence[str]) -> Mapping[str, str | None]:
        self._check()
        for name in deployments:
            self.wake(name)
        return {name: self.answers(name) for name in deployments}

    def deploy(self, applications: Sequence[Prepared]) -> None:
        self._check()
        for prepared in applications:
            app = self._apps.get(prepared.application)
            if app is None:
                app = self._apps[prepared.application] = _FakeApp(target=prepared)
                if prepared.has_answered and _may_sleep(prepared):
                    app.is_scaled = app.is_asleep = True
                    continue
            elif app.target.version == prepared.version and app.deleted_at is None:
                continue
            self._retarget(app, prepared)

    def delete(self, applications: Sequence[str]) -> None:
        self._check()
        for name in applications:
            app = self._apps.get(name)
            if app is not None and app.deleted_at is None:
                self._drain(app, app.running())
                ends = (each.stopped_at for each in app.replicas if each.stopped_at is not None)
                app.deleted_at = max(ends, default=self._clock.now)

    def traffic(self) -> Mapping[str, Traffic]:
        self._check()
        return {
            name: Traffic(
                split=split,
                tally=self._tallies.get(name, Tally()),
                counting=f"counting {self._countings[name]}",
            )
            for name, split in self._splits.items()
        }

    def split(self, splits: Mapping[str, Split | None]) -> None:
        self._check()
        for name, split in splits.items():
            before = self._splits.pop(name, None)
            if split is not None:
                self._splits[name] = split
            if split is None or before is None or before.key != split.key:
                self._tallies.pop(name, None)
                self._countings[name] = next(self._numbers)

    def led_by(self, epoch: int) -> LedServe:
        """This Serve for the leader of one epoch. Raises Deposed once there was a higher one."""
        self.admit(epoch)
        return LedServe(self, epoch)

    def admit(self, epoch: int) -> None:
        if epoch < self._epoch:
            raise Deposed(f"Serve takes orders from epoch {self._epoch} by now, not from {epoch}")
        self._epoch = epoch

    # --- what tests do to it, and ask of it

    def ask(self, deployment: str, queries: int, *, failing: int = 0) -> int:
        """Send queries; return how many another application got. failing: of those, with 500."""
        split = self._splits.get(deployment)
        if split is None:
            return 0
        sent = round(queries * split.percent / 100)
        candidate = Answers(count=sent, failed=min(failing, sent))
        tally = Tally(candidate=candidate, live=Answers(count=queries - sent))
        self._tallies[deployment] = self._tallies.get(deployment, Tally()) + tally
        return sent

    def answers(self, deployment: str) -> str | None:
        """The envelope that answers at the deployment's URL."""
        self._pass_time()
        app = self._apps.get(deployment)
        routed = [each for each in app.replicas if self._is_over(each.routed_at)] if app else []
        return routed[-1].envelope_id if routed and app and app.deleted_at is None else None

    def goes_on(self, deployment: str) -> bool:
        """Whether what answers there is not about to stop."""
        self._pass_time()
        app = self._apps.get(deployment)
        routed = [each for each in app.replicas if self._is_over(each.routed_at)] if app else []
        return any(each.stopped_at is None for each in routed)

    def answers_queries(self, deployment: str) -> str | None:
        """The envelope that answers most of the queries at the deployment's URL."""
        split = self._splits.get(deployment)
        is_sent = split is not None and split.mode == "send" and split.percent > 50
        return self.answers(split.application if split and is_sent else deployment)

    def names(self) -> set[str]:
        self._pass_time()
        return set(self._apps)

    def fall_asleep(self, deployment: str) -> None:
        """Nobody has asked for a while: the replicas that run end."""
        self._pass_time()
        app = self._apps.get(deployment)
        if app is None or app.deleted_at is not None or app.failure is not None:
            return
        if _may_sleep(app.target) and any(e.version == app.target.version for e in app.running()):
            self._drain(app, app.running())
            app.is_scaled = app.is_asleep = True

    def wake(self, deployment: str) -> None:
        """Somebody asks."""
        self._pass_time()
        app = self._apps.get(deployment)
        if app is not None and app.is_asleep and app.deleted_at is None:
            app.is_asleep = False
            self._start(app, app.target.envelope_id, app.target.version).fails = False

    def is_asleep(self, deployment: str) -> bool:
        app = self._apps.get(deployment)
        return app is not None and app.is_asleep

    def lose_everything(self) -> None:
        """The cluster ends, and an empty one takes its place."""
        self._apps.clear()
        self._splits.clear()
        self._tallies.clear()

    def lose_shares(self) -> None:
        """What says how queries are split dies, and starts again knowing nothing."""
        self._splits.clear()
        self._tallies.clear()

    def lose_replica(self, deployment: str) -> None:
        """A running replica dies; Serve starts it again, unless the next one is starting anyway."""
        self._pass_time()
        app = self._apps.get(deployment)
        for replica in app.running() if app else []:
            assert app is not None
            app.replicas.remove(replica)
            if any(not each.routed_at for each in app.replicas):
                continue
            again = self._start(app, replica.envelope_id, replica.version)
            again.fails = False  # what has run once is started again and again

    # --- how it works

    def _check(self) -> None:
        if self.is_down:
            raise ClusterError("Serve's controller does not answer; it is started again by Ray")
        self._pass_time()

    def _describe(self, app: _FakeApp) -> App:
        version, envelope_id = app.target.version, app.target.envelope_id
        starting = App(
            status="starting",
            version=version,
            message="waiting for 1 replica",
            envelope_id=envelope_id,
            target_replicas=0 if app.is_asleep else 1,
            may_answer=bool(app.running()),
        )
        if app.deleted_at is not None:
            return replace(starting, status="deleting", message="")
        if app.failure is not None:
            return replace(starting, status="failed", message=app.failure)
        if app.is_scaled or any(replica.version == version for replica in app.running()):
            return replace(starting, status="running", message="")
        return starting

    def _retarget(self, app: _FakeApp, prepared: Prepared) -> None:
        app.target, app.failure, app.deleted_at = prepared, None, None
        app.is_scaled = app.is_asleep = False
        app.replicas = [each for each in app.replicas if each.routed_at]
        if not any(each.version == prepared.version for each in app.running()):
            self._start(app, prepared.envelope_id, prepared.version)

    def _start(self, app: _FakeApp, envelope_id: str, version: str) -> _Replica:
        behaviour = self.behaviours.get(envelope_id, self.usual)
        ready_at = self._clock.now + timedelta(seconds=behaviour.start_s)
        replica = _Replica(
            envelope_id=envelope_id,
            version=version,
            ready_at=None if behaviour.kind == "hangs" else ready_at,
            fails=behaviour.kind == "fails",
        )
        app.replicas.append(replica)
        self.starts.append((app.target.deployment, envelope_id))
        return replica

    def _drain(self, app: _FakeApp, replicas: Sequence[_Replica]) -> None:
        for replica in replicas:
            drain_s = self.behaviours.get(replica.envelope_id, self.usual).drain_s
            # Behind a proxy Serve keeps an old replica for longer than the routing takes.
            replica.stopped_at = self._clock.now + timedelta(seconds=ROUTING_S + drain_s)

    def _pass_time(self) -> None:
        for name, app in list(self._apps.items()):
            self._finish_starts(app)
            app.replicas = [each for each in app.replicas if not self._is_over(each.stopped_at)]
            if self._is_over(app.deleted_at):
                del self._apps[name]

    def _finish_starts(self, app: _FakeApp) -> None:
        for replica in list(app.replicas):
            if replica.routed_at or not self._is_over(replica.ready_at):
                continue
            if replica.fails:
                app.replicas.remove(replica)
                if app.deleted_at is None:
                    message = self.behaviours[replica.envelope_id].message
                    app.failure = f"envelope {replica.envelope_id}: {message}"
                continue
            replica.routed_at = self._clock.now + timedelta(seconds=ROUTING_S)
            others = [each for each in app.running() if each.version != replica.version]
            self._drain(app, others)

    def _is_over(self, at: datetime | None) -> bool:
        return at is not None and at <= self._clock.now


def _may_sleep(prepared: Prepared) -> bool:
    scaling = prepared.spec.autoscaling if prepared.spec is not None else None
    return scaling is not None and scaling.min == 0


class LedServe:
    """A FakeServe through the one writer, which keeps the highest epoch."""

    def __init__(self, serve: FakeServe, epoch: int) -> None:
        self._serve, self._epoch = serve, epoch
        self.observe, self.answering, self.traffic = serve.observe, serve.answering, serve.traffic

    def deploy(self, applications: Sequence[Prepared]) -> None:
        self._serve.admit(self._epoch)
        self._serve.deploy(applications)

    def delete(self, applications: Sequence[str]) -> None:
        self._serve.admit(self._epoch)
        self._serve.delete(applications)

    def split(self, splits: Mapping[str, Split | None]) -> None:
        self._serve.admit(self._epoch)
        self._serve.split(splits)


class FakeJobs:
    """A job server: a job is pending until somebody says how it goes on, and has one id."""

    def __init__(self) -> None:
        self.submitted: list[JobSpec] = []
        self.stopped: list[str] = []
        self.is_down = False
        self.refuses: str | None = None  # why it takes no job
        self._jobs: dict[str, Job] = {}
        self._logs: dict[str, list[str]] = {}

    # --- what the controller calls

    def look(self, job_id: str) -> Job | None:
        self._check()
        return self._jobs.get(job_id)

    def submit(self, spec: JobSpec) -> None:
        self._check()
        if self.refuses is not None:
            raise ConfigError(self.refuses)
        if spec.job_id not in self._jobs:
            self.submitted.append(spec)
            self._jobs[spec.job_id] = Job(status="pending")

    def stop(self, job_id: str) -> None:
        self._check()
        self.stopped.append(job_id)
        self._jobs[job_id] = Job(status="stopped")

    def last_lines(self, job_id: str, count: int) -> Sequence[str]:
        self._check()
        return self._logs.get(job_id, [])[-count:]

    # --- what tests do to it

    def goes(self, job: Job, *log: str) -> None:
        """Let the job that was submitted last go on like this."""
        job_id = self.submitted[-1].job_id
        self._jobs[job_id], self._logs[job_id] = job, list(log)

    def lose_everything(self) -> None:
        """The cluster ends, and its jobs with it."""
        self._jobs.clear()

    def _check(self) -> None:
        if self.is_down:
            raise ClusterError("the job server does not answer")
