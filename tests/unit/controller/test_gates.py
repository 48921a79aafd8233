"""Gates: a rejection first, then what cannot be judged; each gate with what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.gate_jobs import gates_that_run
from controller.gates import (
    Gate,
    Held,
    Passed,
    Rejected,
    Subject,
    Verdict,
    Waiting,
    describe_gates,
    gates_of,
    judge,
)
from envelope.config import DeploymentConfig
from envelope.manifest import Function, RowWise, Sample
from envelope.registry import EnvelopeFacts, GateRun, RunState
from envelope.schema import types as t
from tests.fakes import START

NO, LATER = Rejected(reason="no"), Held(reason="later")
AGE = t.Frame((t.Column("age", t.Float(), "float64", "numpy"),))
INCOME = t.Frame((t.Column("income", t.Float(), "float64", "numpy"),))


def a_function(frame: t.Frame = AGE, *, row_wise: bool = True, sample: bool = True) -> Function:
    return Function(
        name="predict",
        schema=t.FunctionSchema((t.Parameter("X", frame),), t.Float()),
        row_wise=RowWise(is_row_wise=row_wise, reason="proved"),
        sample=Sample(input=[], output=[]) if sample else None,
        no_sample_reason=None if sample else "sample=False",
    )


def subject(
    name: str = "NEW",
    *,
    failed_proof: str | None = None,
    functions: dict[str, Function] | None = None,
    default: str = "predict",
    **facts: Any,
) -> Subject:
    whole: dict[str, Any] = {"name": "m", "description": "", "created_at": START}
    whole |= {"created_by": "ann", "fields": {"default_function": default}, **facts}
    return Subject(
        facts=EnvelopeFacts(id=name, **whole),
        functions=functions or {"predict": a_function()},
        failed_proof=failed_proof,
    )


JOB = {"validation_job": {"entrypoint": "python validate.py"}, "schema": "any"}
(ASKED,) = gates_that_run(DeploymentConfig.model_validate({"gates": JOB}))


ANOTHER = tuple(
    gates_that_run(
        DeploymentConfig.model_validate(
            {"gates": {"validation_job": {"entrypoint": "python another.py"}}}
        )
    )
)


def a_run(state: RunState, reason: str = "") -> GateRun:
    return GateRun(
        deployment="ltv",
        envelope_id="NEW",
        gate=ASKED.gate,
        spec=ASKED.spec,
        attempt=1,
        state=state,
        reason=reason,
        at=START,
    )


def ran(state: RunState, reason: str = "") -> Subject:
    return replace(subject(), runs={ASKED.gate: a_run(state, reason)})


def verdict(candidate: Subject, live: Subject | None = None, **gates: Any) -> Verdict:
    config = DeploymentConfig.model_validate({"gates": gates})
    return judge(gates_of(config), candidate, live)


def always(verdict: Verdict) -> Gate:
    return lambda candidate, live: verdict


@pytest.mark.parametrize(
    "verdicts, expected",
    [
        pytest.param([], Passed(reason="every gate passed"), id="none"),
        pytest.param(
            [Passed(reason="a"), Passed(), Passed(reason="b")],
            Passed(reason="every gate passed: a; b"),
            id="all-pass",
        ),
        pytest.param([Passed(), LATER], LATER, id="held"),
        pytest.param([LATER, LATER], Held(reason="later; later"), id="all-that-is-missing"),
        pytest.param([LATER, NO], NO, id="a-rejection-needs-no-waiting"),
        pytest.param([NO, Rejected(reason="no too")], NO, id="the-first-rejection"),
        pytest.param(
            [LATER, Waiting(reason="runs", to_ask=(ASKED,))],
            Waiting(reason="runs; later", to_ask=(ASKED,)),
            id="what-runs-may-set-what-is-missing",
        ),
        pytest.param([Waiting(reason="runs", to_ask=(ASKED,)), NO], NO, id="nothing-runs-in-vain"),
    ],
)
def test_judge(verdicts: list[Verdict], expected: Verdict) -> None:
    assert judge([always(verdict) for verdict in verdicts], subject(), None) == expected


LIVE = subject("OLD", metrics={"auc": 0.9})
AUC = "auc >= 0.8"
NEXT_TO_LIVE = "auc >= live - 0.01"


@pytest.mark.parametrize(
    "gates, candidate, live, expected",
    [
        pytest.param(
            {"proved": True}, subject(is_proved=True), None, Passed(reason="proved"), id="proved"
        ),
        pytest.param(
            {"proved": True},
            subject(),
            None,
            Held(
                reason="it is not proved, and the gate `proved` wants a proof; "
                "`envelope verify NEW` makes one"
            ),
            id="no-proof",
        ),
        pytest.param(
            {"proved": True},
            subject(failed_proof="pandas==9 is nowhere"),
            None,
            Rejected(reason="its proof failed: pandas==9 is nowhere"),
            id="failed-proof",
        ),
        pytest.param(
            {"tags": {"ok": "yes"}},
            subject(tags={"ok": "yes"}),
            None,
            Passed(reason="tag ok is 'yes'"),
            id="tag",
        ),
        pytest.param(
            {"tags": {"ok": "yes"}},
            subject(),
            None,
            Held(
                reason="tag ok is not set, the gate wants 'yes'; `envelope tag NEW ok=yes` sets it"
            ),
            id="no-tag",
        ),
        pytest.param(
            {"tags": {"ok": "yes"}},
            subject(tags={"ok": "no"}),
            None,
            Rejected(reason="tag ok is 'no', the gate wants 'yes'"),
            id="another-tag",
        ),
        pytest.param(
            {"metrics": [AUC]},
            subject(metrics={"auc": 0.8}),
            None,
            Passed(reason="auc 0.8 >= 0.8"),
            id="metric",
        ),
        pytest.param(
            {"metrics": [AUC]},
            subject(metrics={"auc": 0.7}),
            None,
            Rejected(reason="auc is 0.7, the gate `auc >= 0.8` wants >= 0.8"),
            id="metric-too-low",
        ),
        pytest.param(
            {"metrics": [AUC]},
            subject(),
            None,
            Held(reason="NEW has no metric auc; `env.log_metrics(auc=...)` adds it"),
            id="no-metric",
        ),
        pytest.param(
            {"metrics": [AUC]},
            subject(metrics={"auc": None}),
            None,
            Held(reason="metric auc of NEW is no finite number"),
            id="metric-nan",
        ),
        pytest.param(
            {"metrics": [NEXT_TO_LIVE]},
            subject(metrics={"auc": 0.5}),
            None,
            Passed(reason="auc 0.5, no other is live to compare with"),
            id="relative-nothing-live",
        ),
        pytest.param(
            {"metrics": [NEXT_TO_LIVE]},
            subject(metrics={"auc": 0.89}),
            LIVE,
            Passed(reason="auc 0.89 >= 0.89 (live OLD has 0.9); schema compatible with OLD"),
            id="relative",
        ),
        pytest.param(
            {"metrics": [NEXT_TO_LIVE]},
            subject(metrics={"auc": 0.88}),
            LIVE,
            Rejected(
                reason="auc is 0.88, the gate `auc >= live - 0.01` wants >= 0.89 (live OLD has 0.9)"
            ),
            id="worse-than-live",
        ),
        pytest.param(
            {"metrics": ["auc > live"]},
            subject("OLD", metrics={"auc": 0.9}),
            LIVE,
            Passed(reason="auc 0.9, no other is live to compare with"),
            id="live-itself",
        ),
        pytest.param(
            {"metrics": [NEXT_TO_LIVE]},
            subject(metrics={"auc": 0.88}),
            subject("OLD"),
            Held(
                reason="`auc >= live - 0.01`: of what is live, OLD has no metric auc; "
                "`env.log_metrics(auc=...)` adds it"
            ),
            id="live-has-no-metric",
        ),
        pytest.param(
            {},
            subject(functions={"predict": a_function(INCOME)}),
            LIVE,
            Rejected(
                reason="not compatible with what is live, OLD: predict: input column age is gone, "
                "callers send it; predict: input column income is required, callers need not send "
                "it: float"
            ),
            id="schema",
        ),
        pytest.param(
            {"schema": "any"},
            subject(functions={"predict": a_function(INCOME)}),
            LIVE,
            Passed(),
            id="any-schema",
        ),
        pytest.param(
            {},
            subject(functions={"predict": a_function(row_wise=False)}),
            LIVE,
            Rejected(
                reason="not compatible with what is live, OLD: predict: one row is answered by the "
                "whole output, it was by that row's"
            ),
            id="row-wise-no-more",
        ),
        pytest.param(
            {},
            subject(functions={"score": a_function()}, default="score"),
            LIVE,
            Rejected(reason="not compatible with what is live, OLD: function predict is gone"),
            id="function-gone",
        ),
        pytest.param(
            {"sla": {"p99_ms": 20}},
            subject(),
            None,
            Passed(reason="its replica measures the sample"),
            id="sla",
        ),
        pytest.param(
            {"sla": {"p99_ms": 20}},
            subject(functions={"predict": a_function(sample=False)}),
            None,
            Held(
                reason="the gate `sla` calls every function with its sample, and predict has none "
                "(sample=False); save the model again with api_input="
            ),
            id="sla-no-sample",
        ),
        pytest.param(
            JOB,
            subject(),
            None,
            Waiting(reason="the validation job is about to run", to_ask=(ASKED,)),
            id="job-not-asked-for",
        ),
        pytest.param(
            JOB,
            ran("asked"),
            None,
            Waiting(reason="the validation job is about to run"),
            id="job-asked-for",
        ),
        pytest.param(
            JOB,
            ran("asked", "the job server does not answer"),
            None,
            Waiting(reason="the validation job is about to run: the job server does not answer"),
            id="job-cannot-begin",
        ),
        pytest.param(
            JOB,
            ran("running"),
            None,
            Waiting(
                reason=f"the validation job is running, as job ltv--NEW--{ASKED.gate}",
            ),
            id="job-runs",
        ),
        pytest.param(
            JOB,
            ran("passed", "succeeded (job 1)"),
            None,
            Passed(reason="the validation job succeeded (job 1)"),
            id="job-succeeded",
        ),
        pytest.param(
            JOB,
            ran("refused", "failed with exit status 1 (job 1):\nauc 0.4"),
            None,
            Rejected(reason="the validation job failed with exit status 1 (job 1):\nauc 0.4"),
            id="job-failed",
        ),
        pytest.param(
            JOB,
            ran("unjudged", "was ended by a signal (job 1)"),
            None,
            Held(
                reason="the validation job was ended by a signal (job 1); "
                "`envelope deploy NEW --to ltv` runs it again"
            ),
            id="job-says-nothing",
        ),
        pytest.param(
            {**JOB, "validation_job": {"entrypoint": "python another.py"}},
            ran("passed", "succeeded"),
            None,
            Waiting(reason="the validation job is about to run", to_ask=ANOTHER),
            id="another-job-has-to-run",
        ),
    ],
)
def test_a_gate(
    gates: dict[str, Any], candidate: Subject, live: Subject | None, expected: Verdict
) -> None:
    found = verdict(candidate, live, **gates)
    if isinstance(expected, Passed):
        said = [expected.reason] if expected.reason else []
        expected = Passed(reason=": ".join(["every gate passed", *said]))
    assert found == expected


def test_gates_in_words() -> None:
    gates = {"proved": True, "tags": {"ok": "yes"}, "metrics": [AUC], "sla": {"p99_ms": 20}}
    gates["validation_job"] = JOB["validation_job"]
    assert describe_gates(DeploymentConfig.model_validate({"gates": gates}).gates) == [
        "proved",
        "tags.ok = 'yes'",
        "auc >= 0.8",
        "schema compatible with live",
        "p99 of the sample <= 20 ms",
        "the job `python validate.py` succeeds",
    ]
