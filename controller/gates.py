"""What a candidate must pass before it is live: pure functions of facts and function records.

Nothing of a model is loaded here. Whether the sample replays, and how long its calls take where it
will run, is judged by the replica before it counts as ready; a start that fails there fails the
release. What runs on the cluster is judged by what is recorded of its run. A gate that cannot be
judged holds the release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controller.gate_jobs import AskedGate, gates_that_run
from envelope.config import DeploymentConfig, Gates
from envelope.manifest import Function
from envelope.metric_gates import MetricGate, parse_metric_gate
from envelope.registry import EnvelopeFacts, GateRun
from envelope.schema.compatibility import breaking_changes
from envelope.schema.fits import Extra

MOST_CHANGES = 5  # of a schema that a reason names


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Nothing speaks against it. reason: what was found."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """It cannot be judged yet; it is judged again at every turn."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What judges it is running, or has to begin: it is no fault, and ends by itself.

    to_ask: the gates that have not been asked to run yet.
    """

    reason: str
    to_ask: tuple[AskedGate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """It must not be started."""

    reason: str


Verdict = Passed | Waiting | Held | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of an envelope without loading it.

    functions: those that are served. failed_proof: what the last proof said, if it failed.
    runs: of the gates that run on the cluster, by the name of the gate.
    """

    facts: EnvelopeFacts
    functions: Mapping[str, Function]
    failed_proof: str | None = None
    runs: Mapping[str, GateRun] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.facts.id

    @property
    def default_function(self) -> str:
        return str(self.facts.fields.get("default_function"))


Gate = Callable[[Subject, Subject | None], Verdict]


def gates_of(config: DeploymentConfig) -> list[Gate]:
    """The gates of a deployment, in the order in which they are named."""
    gates = config.gates
    found: list[Gate] = [_proved] if gates.proved else []
    found += [_tag(key, value) for key, value in gates.tags.items()]
    found += [_metric(parse_metric_gate(text)) for text in gates.metrics]
    found += [_compatible(config.extra_columns)] if gates.interface == "compatible" else []
    found += [_has_sample] if gates.sla is not None else []
    return found + [_ran(asked) for asked in gates_that_run(config)]


def judge(gates: Sequence[Gate], candidate: Subject, live: Subject | None) -> Verdict:
    """Return the first rejection, else what runs and all that cannot be judged, else Passed.

    What runs may set the very tag or metric that another gate waits for.

    live: the envelope that the candidate would replace; None when nothing is live.
    """
    verdicts = [gate(candidate, live) for gate in gates]
    for verdict in verdicts:
        if isinstance(verdict, Rejected):
            return verdict
    held = [verdict.reason for verdict in verdicts if isinstance(verdict, Held)]
    waiting = [verdict for verdict in verdicts if isinstance(verdict, Waiting)]
    if waiting:
        return Waiting(
            reason="; ".join([*(verdict.reason for verdict in waiting), *held]),
            to_ask=tuple(asked for verdict in waiting for asked in verdict.to_ask),
        )
    if held:
        return Held(reason="; ".join(held))
    found = [verdict.reason for verdict in verdicts if verdict.reason]
    return Passed(reason=": ".join(["every gate passed", *(["; ".join(found)] if found else [])]))


def describe_gates(gates: Gates) -> list[str]:
    """Say each gate in a few words."""
    found = ["proved"] if gates.proved else []
    found += [f"tags.{key} = '{value}'" for key, value in gates.tags.items()]
    found += list(gates.metrics)
    found += ["schema compatible with live"] if gates.interface == "compatible" else []
    found += [f"p99 of the sample <= {gates.sla.p99_ms:g} ms"] if gates.sla else []
    found += [f"check {gates.check.function}"] if gates.check else []
    job = gates.validation_job
    return found + ([f"the job `{job.entrypoint}` succeeds"] if job else [])


# --- one gate each


def _proved(candidate: Subject, live: Subject | None) -> Verdict:
    if candidate.facts.is_proved:
        return Passed(reason="proved")
    if candidate.failed_proof is not None:
        return Rejected(reason=f"its proof failed: {candidate.failed_proof}")
    remedy = f"`envelope verify {candidate.id}` makes one"
    return Held(reason=f"it is not proved, and the gate `proved` wants a proof; {remedy}")


def _tag(key: str, value: str) -> Gate:
    def gate(candidate: Subject, live: Subject | None) -> Verdict:
        found = candidate.facts.tags.get(key)
        if found == value:
            return Passed(reason=f"tag {key} is {value!r}")
        wants = f"the gate wants {value!r}"
        if found is not None:
            return Rejected(reason=f"tag {key} is {found!r}, {wants}")
        remedy = f"`envelope tag {candidate.id} {key}={value}` sets it"
        return Held(reason=f"tag {key} is not set, {wants}; {remedy}")

    return gate


def _metric(gate: MetricGate) -> Gate:
    def judge_metric(candidate: Subject, live: Subject | None) -> Verdict:
        value = _number(candidate, gate.name)
        if isinstance(value, Held):
            return value
        if gate.sign is None:
            return _compared(gate, value, gate.number, "")
        if live is None or live.id == candidate.id:
            return Passed(reason=f"{gate.name} {value:g}, no other is live to compare with")
        other = _number(live, gate.name)
        if isinstance(other, Held):
            return Held(reason=f"`{gate.text}`: of what is live, {other.reason}")
        return _compared(gate, value, gate.limit(other), f" (live {live.id} has {other:g})")

    return judge_metric


def _number(subject: Subject, name: str) -> float | Held:
    metrics = subject.facts.metrics
    if name not in metrics:
        remedy = f"`env.log_metrics({name}=...)` adds it"
        return Held(reason=f"{subject.id} has no metric {name}; {remedy}")
    value = metrics[name]
    if value is None:
        return Held(reason=f"metric {name} of {subject.id} is no finite number")
    return value


def _compared(gate: MetricGate, value: float, limit: float, note: str) -> Verdict:
    if gate.holds(value, limit):
        return Passed(reason=f"{gate.name} {value:g} {gate.operator} {limit:g}{note}")
    reason = f"{gate.name} is {value:g}, the gate `{gate.text}` wants {gate.operator} {limit:g}"
    return Rejected(reason=reason + note)


def _has_sample(candidate: Subject, live: Subject | None) -> Verdict:
    """The replica measures; here is only known whether it will have something to measure with."""
    without = [name for name, each in candidate.functions.items() if each.sample is None]
    if without:
        return Held(
            reason="the gate `sla` calls every function with its sample, and "
            f"{without[0]} has none ({candidate.functions[without[0]].no_sample_reason}); save "
            "the model again with api_input="
        )
    return Passed(reason="its replica measures the sample")


def _compatible(extra_columns: Extra) -> Gate:
    def gate(candidate: Subject, live: Subject | None) -> Verdict:
        if live is None or live.id == candidate.id:
            return Passed()
        changes = list(_changes(live, candidate, extra_columns))
        if not changes:
            return Passed(reason=f"schema compatible with {live.id}")
        more = f"; and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
        return Rejected(
            reason=f"not compatible with what is live, {live.id}: "
            f"{'; '.join(changes[:MOST_CHANGES])}{more}"
        )

    return gate


def _changes(live: Subject, candidate: Subject, extra_columns: Extra) -> Iterator[str]:
    pairs = {name: (each, candidate.functions.get(name)) for name, each in live.functions.items()}
    if candidate.default_function != live.default_function:
        # Callers of /v0/query name no function.
        before = live.functions[live.default_function]
        pairs["the default"] = (before, candidate.functions[candidate.default_function])
    for name, (old, new) in pairs.items():
        if new is None:
            yield f"function {name} is gone"
            continue
        for change in breaking_changes(old.schema, new.schema, extra_columns=extra_columns):
            yield f"{name}: {change}"
        if old.schema.one_frame and new.schema.one_frame:
            yield from _row_change(name, old.row_wise.is_row_wise, new.row_wise.is_row_wise)


def _row_change(name: str, was_row_wise: bool, is_row_wise: bool) -> Iterator[str]:
    if was_row_wise and not is_row_wise:
        yield f"{name}: one row is answered by the whole output, it was by that row's"
    elif is_row_wise and not was_row_wise:
        yield f"{name}: one row is answered by that row's output, it was by the whole"


def _ran(asked: AskedGate) -> Gate:
    """What is recorded of a run on the cluster. It is asked for where nothing is."""

    def gate(candidate: Subject, live: Subject | None) -> Verdict:
        run = candidate.runs.get(asked.gate)
        if run is None:
            return Waiting(reason=f"{asked.what} is about to run", to_ask=(asked,))
        match run.state:
            case "asked":
                why = f": {run.reason}" if run.reason else ""
                return Waiting(reason=f"{asked.what} is about to run{why}")
            case "running":
                return Waiting(reason=f"{asked.what} is running, as job {run.job_id}")
            case "passed":
                return Passed(reason=f"{asked.what} {run.reason}")
            case "refused":
                return Rejected(reason=f"{asked.what} {run.reason}")
            case "unjudged":
                again = f"`envelope deploy {run.envelope_id} --to {run.deployment}` runs it again"
                return Held(reason=f"{asked.what} {run.reason}; {again}")

    return gate
