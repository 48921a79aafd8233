"""Random histories: saves, tags, gates, rule edits, rollbacks, failing and hanging starts, lost
replicas and clusters, and two controllers that are killed or stand still at any write.

Whatever happened, the newest match that can start is live once things are quiet, a deployment that
answered goes on answering until it is undeployed or its cluster is lost, nothing is live past its
gates, and a deposed controller writes nothing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from controller.rollback import rollback_target
from controller.state import Action, MoveRelease
from controller.view import live_row
from envelope.errors import ConfigError
from envelope.registry import open_registry
from tests.delivery_world import new_registry
from tests.fakes import Behaviour, Kind
from tests.simulation.two_controllers import Ending, TwoControllers

TEMPLATE, MADE = "geo_{tags.zone}", "geo_a"  # of zone a; of zone "a b" nothing can be made
DEPLOYMENTS = ("ltv", "churn", MADE)
TIMEOUT_S = 10.0
# `make simulate` takes 10,000, in parts for as many processes as there are cores.
EXAMPLES = int(os.environ.get("HISTORIES", "20"))
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a disk takes most of the time
PARTS = int(os.environ.get("HISTORIES_PARTS", "1"))
# (rule, deployment, tag, priority): two rules of one deployment differ in priority, two do not.
RULES = {
    "us": ("ltv", "us", 0),
    "hotfix": ("ltv", "hotfix", 5),
    "a": ("churn", "us", 1),
    "b": ("churn", "hotfix", 1),
    "geo": (TEMPLATE, "us", 0),
}
BEHAVIOURS = st.builds(
    Behaviour,
    kind=st.sampled_from(("starts", "starts", "starts", "fails", "hangs")),
    start_s=st.sampled_from((0.0, 1.0, 6.0)),
    drain_s=st.sampled_from((0.0, 3.0)),
)
TAGS = st.sampled_from((("us", "hotfix"), ("us",), ("hotfix",), ()))
ZONES = st.sampled_from(("a", "a", "a b", None))
AUCS = st.sampled_from((0.9, 0.9, 0.9, 0.2, None))  # None: cannot be judged yet
GATED = {"ltv": {"metrics": ["auc >= 0.5"]}, "churn": {}, MADE: {}}
SCALED = {"ltv": {"min": 0, "max": 1}}  # the others always have a replica
TURNS = st.integers(0, 9)  # one start takes about 20


class Histories(RuleBasedStateMachine):
    template: Path

    envelopes = Bundle("envelopes")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        path = new_registry(self.template, Path(self._folder.name) / "registry.db")
        self.world = TwoControllers.open(path)
        self.tags: dict[str, set[str]] = {}
        self.zones: dict[str, str | None] = {}
        self.aucs: dict[str, float | None] = {}
        self.paused: set[str] = set()
        self.removed: set[str] = set()
        self.pins: dict[str, str] = {}
        self.undone: dict[str, list[str]] = {name: [] for name in DEPLOYMENTS}
        self.config = dict.fromkeys(DEPLOYMENTS, 1)
        self.has_answered: set[str] = set()
        self.has_live: set[str] = set()
        self.disturbed: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        try:
            self.quiet_and_right()
        finally:
            self.world.registry.close()
            self._folder.cleanup()

    # --- what people do

    @initialize(behaviours=st.lists(BEHAVIOURS, min_size=2, max_size=2), target=envelopes)
    def begin(self, behaviours: list[Behaviour]) -> object:
        for name in ("ltv", "churn", TEMPLATE):
            self._apply(name)
        for name in RULES:
            self._put_rule(name)
        return multiple(*(self._save(each, ("us", "hotfix"), 0.9, "a") for each in behaviours))

    @rule(target=envelopes, behaviour=BEHAVIOURS, tags=TAGS, auc=AUCS, zone=ZONES, turns=TURNS)
    def save(
        self,
        behaviour: Behaviour,
        tags: tuple[str, ...],
        auc: float | None,
        zone: str | None,
        turns: int,
    ) -> object:
        envelope_id = self._save(behaviour, tags, auc, zone)
        self.take_turns(turns)
        return envelope_id

    @rule(envelope_id=envelopes, tags=TAGS, zone=ZONES, turns=TURNS)
    def tag(self, envelope_id: str, tags: tuple[str, ...], zone: str | None, turns: int) -> None:
        wanted = {tag: "yes" if tag in tags else None for tag in ("us", "hotfix")}
        self.world.tag(envelope_id, **wanted, zone=zone)
        self.zones[envelope_id] = zone
        self.tags[envelope_id] = set(tags)
        self.take_turns(turns)

    @rule(envelope_id=envelopes, turns=TURNS)
    def measure(self, envelope_id: str, turns: int) -> None:
        self.world.log(envelope_id, auc=0.9)
        self.aucs[envelope_id] = 0.9
        self.take_turns(turns)

    @rule(name=st.sampled_from(sorted(RULES)), turns=TURNS)
    def pause_or_resume(self, name: str, turns: int) -> None:
        self.paused ^= {name}
        self._put_rule(name)
        self.take_turns(turns)

    @rule(deployment=st.sampled_from(DEPLOYMENTS), envelope_id=envelopes, turns=TURNS)
    def deploy(self, deployment: str, envelope_id: str, turns: int) -> None:
        if not self._is_there(deployment):  # made by hand it would have no config of ours
            return
        if envelope_id in self.undone[deployment]:
            with pytest.raises(ConfigError, match="envelope allow"):
                self.world.registry.request_deploy(deployment, envelope_id, actor="bob")
            return
        self.world.registry.request_deploy(deployment, envelope_id, actor="bob")
        self.pins[deployment] = envelope_id
        self.removed.discard(deployment)
        self.take_turns(turns)

    @rule(
        deployment=st.sampled_from(DEPLOYMENTS),
        what=st.sampled_from(("unpin", "undeploy", "apply", "change")),
        turns=TURNS,
    )
    def change_deployment(self, deployment: str, what: str, turns: int) -> None:
        if not self._is_there(deployment):
            return
        match what:
            case "unpin":
                self.world.registry.unpin(deployment, actor="bob")
                self.pins.pop(deployment, None)
            case "undeploy":
                self.world.registry.request_undeploy(deployment, actor="bob")
                self.removed.add(deployment)
                self.pins.pop(deployment, None)
                self.has_answered.discard(deployment)
                self.has_live.discard(deployment)
            case _:
                self.config[deployment] += what == "change"
                self._apply(deployment)
        self.take_turns(turns)

    @rule(deployment=st.sampled_from(DEPLOYMENTS), turns=TURNS)
    def roll_back(self, deployment: str, turns: int) -> None:
        registry = self.world.registry
        history = registry.releases(deployment)
        live = live_row(history)
        if live is None or deployment in self.removed:
            return
        try:
            target = rollback_target(live, history, registry.exclusions(deployment))
        except ConfigError:
            return
        undone, back_to = live.envelope_id, target.envelope_id
        registry.request_rollback(deployment, undone, back_to=back_to, reason="bad", actor="bob")
        self.undone[deployment].append(undone)
        self.pins.pop(deployment, None)
        self.take_turns(turns)

    @rule(deployment=st.sampled_from(DEPLOYMENTS), envelope_id=envelopes, turns=TURNS)
    def allow(self, deployment: str, envelope_id: str, turns: int) -> None:
        if not self._is_there(deployment):
            return
        self.world.registry.allow(deployment, envelope_id, actor="bob")
        undone = self.undone[deployment]
        self.undone[deployment] = [each for each in undone if each != envelope_id]
        self.take_turns(turns)

    # --- what happens

    @rule(turns=st.integers(1, 30))
    def time_passes(self, turns: int) -> None:
        self.take_turns(turns)

    @rule(
        write=st.integers(1, 6),
        before=st.booleans(),
        ending=st.sampled_from(Ending),
        turns=st.integers(1, 12),
    )
    def kill(self, write: int, before: bool, ending: Ending, turns: int) -> None:
        self.world.kill_at(write, before=before)
        self.world.ending = ending
        self.take_turns(turns)

    @rule(write=st.integers(1, 6), turns=st.integers(1, 12), meanwhile=st.integers(1, 12))
    def stand_still(self, write: int, turns: int, meanwhile: int) -> None:
        """The leader stands still before a write, and goes on after the other has taken over."""
        self.world.stall_at(write, lambda: self.take_turns(meanwhile))
        self.take_turns(turns)

    @rule(what=st.sampled_from(("kill", "replica", "replica", "cluster")), turns=TURNS)
    def mishap(self, what: str, turns: int) -> None:
        match what:
            case "kill":
                self.world.restart()
            case "replica":
                for deployment in DEPLOYMENTS:
                    self.world.serve.lose_replica(deployment)
                self.disturb_starts()
                self.has_answered.clear()
            case "cluster":
                self.world.serve.lose_everything()
                self.world.restart()
                self.disturb_starts()
                self.has_answered.clear()
        self.take_turns(turns)

    @rule(deployment=st.sampled_from(sorted(SCALED)), turns=TURNS)
    def sleep(self, deployment: str, turns: int) -> None:
        """Nobody asks for a while."""
        if self.world.live(deployment) == self.world.serve.answers(deployment):
            self.has_answered.discard(deployment)
            self.world.serve.fall_asleep(deployment)
        self.take_turns(turns)

    @rule(deployment=st.sampled_from(sorted(SCALED)), turns=TURNS)
    def wake(self, deployment: str, turns: int) -> None:
        """Somebody asks."""
        self.world.serve.wake(deployment)
        self.take_turns(turns)

    def disturb_starts(self) -> None:
        """What begins anew in the middle of its start may come too late; that is not its fault."""
        for row in self.world.registry.releases(open_only=True):
            self.disturbed.add((row.deployment, row.envelope_id))

    def take_turns(self, count: int) -> None:
        for _ in range(count):
            self.world.turn(self.is_live)
            self.goes_on_answering()
            if self.world.has_written:
                self.goes_on_being_live()

    def is_live(self, action: Action) -> None:
        """A release is live when it answers, whatever Serve says, and never past its gates."""
        if isinstance(action, MoveRelease) and action.to_state == "live":
            envelope_id = self.world.registry.release(action.release_id).envelope_id
            assert self.world.serve.answers(action.deployment) == envelope_id
            assert self._verdict(action.deployment, envelope_id) == "passes"
            assert envelope_id not in self.undone[action.deployment]

    @rule()
    def quiet_and_right(self) -> None:
        self.world.settle(self.goes_on_answering, self.is_live)
        for deployment in DEPLOYMENTS:
            if self.world.serve.is_asleep(deployment):
                assert self.world.live(deployment) is not None, self.world.history()
                self.world.serve.wake(deployment)
        self.world.settle(self.goes_on_answering, self.is_live)
        for deployment in DEPLOYMENTS:
            self._check(deployment)
        seq, starts = self.world.registry.last_change(), len(self.world.serve.starts)
        self.world.restart()
        self.world.settle()
        assert (self.world.registry.last_change(), len(self.world.serve.starts)) == (seq, starts)

    # --- what must hold

    @invariant()
    def goes_on_answering(self) -> None:
        for deployment in DEPLOYMENTS:
            if self.world.serve.answers(deployment) is not None:
                if deployment not in self.removed and self.world.serve.goes_on(deployment):
                    self.has_answered.add(deployment)
            else:
                assert deployment not in self.has_answered, f"{deployment} fell silent"

    def goes_on_being_live(self) -> None:
        """The record too is never without a live release, also between two writes."""
        for row in self.world.registry.releases(open_only=True):
            if row.state == "live" and row.deployment not in self.removed:
                self.has_live.add(row.deployment)
        for deployment in self.has_live:
            assert self.world.any_live(deployment), self.world.history()

    def _check(self, deployment: str) -> None:
        live, answers = self.world.live(deployment), self.world.serve.answers(deployment)
        assert live == answers, self.world.history()
        if deployment in self.removed:
            assert live is None
            assert deployment not in self.world.serve.names()
            return
        if not self._is_there(deployment):
            assert not self._best_first(deployment), "what matches is made"
            return
        open_ones = [row for row in self.world.releases(deployment) if row.ended_at is None]
        unheld = [row for row in open_ones if row.state != "held"]
        assert len(unheld) == (live is not None), "nothing is left half-way"
        # What is live went through, so what was live before can be gone back to.
        assert live is None or live not in self.undone[deployment], self.world.history()
        expected = self._expected(deployment)
        if expected is not None:
            assert live == expected, self.world.history()

    def _expected(self, deployment: str) -> str | None:
        """The newest match that can start; None where what was live stays."""
        if deployment in self.pins:
            pinned = self.pins[deployment]
            is_good = self._verdict(deployment, pinned) == "passes"
            return pinned if is_good and self._can_start(deployment, pinned) else None
        for envelope_id in self._best_first(deployment):
            undone = self.undone[deployment]
            if envelope_id in undone:
                continue
            order = list(self.tags)
            if undone and order.index(envelope_id) < max(map(order.index, undone)):
                return None  # what was gone back to, or what has come since
            verdict = self._verdict(deployment, envelope_id)
            if verdict == "held":
                return None
            if verdict == "passes" and self._can_start(deployment, envelope_id):
                return envelope_id
        return None

    def _best_first(self, deployment: str) -> list[str]:
        ranked: dict[str, tuple[int, int]] = {}
        for name, (target, tag, priority) in RULES.items():
            is_made = (target, deployment) == (TEMPLATE, MADE)
            if not (target == deployment or is_made) or name in self.paused:
                continue
            for age, envelope_id in enumerate(self.tags):
                if tag in self.tags[envelope_id] and (
                    not is_made or self.zones[envelope_id] == "a"
                ):
                    rank = (priority, age)
                    ranked[envelope_id] = max(ranked.get(envelope_id, rank), rank)
        return sorted(ranked, key=lambda envelope_id: ranked[envelope_id], reverse=True)

    def _verdict(self, deployment: str, envelope_id: str) -> str:
        auc = self.aucs[envelope_id]
        if not GATED[deployment]:
            return "passes"
        return "held" if auc is None else "passes" if auc >= 0.5 else "rejected"

    def _can_start(self, deployment: str, envelope_id: str) -> bool:
        if self._kind(envelope_id) != "starts":
            return False
        if (deployment, envelope_id) not in self.disturbed:
            return True
        mine = [row for row in self.world.releases(deployment) if row.envelope_id == envelope_id]
        return not mine or mine[0].state != "failed"

    def _kind(self, envelope_id: str) -> Kind:
        return self.world.serve.behaviours[envelope_id].kind

    def _is_there(self, deployment: str) -> bool:
        return any(row.name == deployment for row in self.world.registry.deployments())

    def _save(
        self, behaviour: Behaviour, tags: tuple[str, ...], auc: float | None, zone: str | None
    ) -> str:
        metrics = {} if auc is None else {"auc": auc}
        with_zone = {} if zone is None else {"zone": zone}
        envelope_id = self.world.save(
            behaviour, metrics=metrics, **dict.fromkeys(tags, "yes"), **with_zone
        )
        self.zones[envelope_id] = zone
        self.aucs[envelope_id] = auc
        self.tags[envelope_id] = set(tags)
        return envelope_id

    def _apply(self, deployment: str) -> None:
        config: dict[str, object] = {
            "start_timeout_s": TIMEOUT_S,
            "max_queue": self.config.get(deployment, 1),
            "autoscaling": SCALED.get(deployment),
            "gates": GATED.get(deployment, {}),
        }
        self.world.apply(deployments={deployment: config})
        self.removed.discard(deployment)

    def _put_rule(self, name: str) -> None:
        deployment, tag, priority = RULES[name]
        self.world.apply(
            rules={
                name: {
                    "query": f"tags.{tag} = 'yes'",
                    "deploy_to": deployment,
                    "priority": priority,
                    "paused": name in self.paused,
                }
            }
        )


@pytest.mark.parametrize("part", range(PARTS))
def test_histories_converge(part: int, tmp_path: Path) -> None:
    Histories.template = tmp_path / "template.db"
    open_registry(f"sqlite:///{Histories.template}").close()
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=EXAMPLES // PARTS,
            derandomize=PARTS == 1 and settings.default.derandomize,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
