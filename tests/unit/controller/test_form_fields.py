"""Forms of the config's models: every key has a field, and what is typed is read back."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel

from controller.web.fields import (
    Kind,
    compact,
    describe_keys,
    read,
    sections_of,
    typed_of,
)
from envelope.config import (
    Autoscaling,
    BatchJobConfig,
    Check,
    DeploymentConfig,
    Gates,
    Resources,
    Rollout,
    RolloutStep,
    RuleConfig,
    Sla,
    Sticky,
    ValidationJob,
)

FULL = DeploymentConfig(
    autoscaling=Autoscaling(min=0, max=4, target_ongoing_requests=1.5, downscale_delay_s=60),
    timeout_s=0.5,
    resources=Resources(num_cpus=1.5, memory_bytes=10**9),
    extra_columns="ignore",
    max_age="8d",
    gates=Gates(
        proved=True,
        tags={"approved": "yes", "time": "12:30"},
        metrics=("auc >= 0.8", "auc >= live - 0.01"),
        schema="any",
        sla=Sla(p99_ms=20),
        check=Check(function="team.checks:fair", timeout_s=60),
        validation_job=ValidationJob(
            entrypoint="python validate.py {envelope_id}", working_dir="/srv/validation"
        ),
    ),
    rollout=Rollout(
        strategy="shadow",
        steps=(RolloutStep(share=5, minutes=10), RolloutStep(share=50, requests=7)),
        max_different_percent=1.5,
    ),
)
EXPERIMENT = DeploymentConfig(
    rollout=Rollout(strategy="experiment", share=12.5, sticky=Sticky(header="X-User-Id")),
)
JOB = BatchJobConfig.model_validate(
    {
        "query": "tags.a = 'b'",
        "input": {"path": "s3://w/*.parquet", "format": "csv"},
        "output": {"path": "s3://w/out", "keep_columns": ["id", "name, and more"]},
        "group_by": ["region"],
        "concurrency": 3,
    }
)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(DeploymentConfig(), id="defaults"),
        pytest.param(FULL, id="every-key"),
        pytest.param(DeploymentConfig(num_replicas=2), id="a-fixed-number"),
        pytest.param(EXPERIMENT, id="experiment"),
        pytest.param(RuleConfig(query="tags.a = 'b'", deploy_to="ltv", paused=True), id="rule"),
        pytest.param(JOB, id="batch-job"),
        pytest.param(
            JOB.model_copy(
                update={"output": JOB.output.model_copy(update={"keep_columns": "all"})}
            ),
            id="all",
        ),
    ],
)
def test_what_a_form_holds_says_the_same_config(config: BaseModel) -> None:
    model = type(config)
    reading = read(model, compact(model, typed_of(config)))
    assert reading.faults == {}
    assert reading.config == config


def paths(model: type[BaseModel]) -> set[str]:
    return {field.path for one in sections_of(model, {}) for field in one.fields}


def keys_in(known: object, path: str = "") -> set[str]:
    """The path of every key of a dumped config; of a list of objects, those of the first."""
    if isinstance(known, dict) and path != "gates.tags":
        below = ((f"{path}.{key}" if path else key, value) for key, value in known.items())
        return {one for where, value in below for one in keys_in(value, where)}
    if isinstance(known, list) and known and isinstance(known[0], dict):
        return keys_in(known[0], f"{path}.0")
    return {path}


@pytest.mark.parametrize("config", [FULL, JOB], ids=["deployment", "batch-job"])
def test_every_key_of_the_config_has_a_field(config: BaseModel) -> None:
    assert keys_in(config.model_dump(mode="json", exclude_none=True)) <= paths(type(config))
    of_experiments = {"rollout.share", "rollout.sticky.header", "rollout.sticky.field"}
    assert of_experiments <= paths(DeploymentConfig)


def test_a_new_key_appears_by_itself() -> None:
    class Inner(BaseModel):
        """speed: how fast."""

        speed: Literal["slow", "fast"] = "slow"

    class New(DeploymentConfig):
        """image: where from. tries: how often it is tried."""

        image: str
        tries: int | None = None
        inner: Inner | None = None
        odd: tuple[tuple[int, ...], ...] = ((1, 2),)

    found = {field.path: field for one in sections_of(New, {}) for field in one.fields}
    kinds: dict[str, Kind] = {"image": "text", "tries": "number", "inner.speed": "choice"}
    assert {path: found[path].kind for path in kinds} == kinds
    assert (found["odd"].kind, found["odd"].default) == ("yaml", "[[1, 2]]")
    assert found["image"].is_required and found["tries"].help == "how often it is tried."
    assert found["inner.speed"].choices == ("slow", "fast")


@pytest.mark.parametrize("model", [DeploymentConfig, RuleConfig, BatchJobConfig])
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    fields = [field for one in sections_of(model, {}) for field in one.fields]
    assert [field.path for field in fields if not field.help] == []


def test_keys_have_the_words_of_the_docstring() -> None:
    known = describe_keys(Rollout) | describe_keys(RolloutStep) | describe_keys(Gates)
    assert known["share"] == "percent of the queries that the candidate gets."
    assert known["minutes"] == "how long."
    assert known["min_requests"].startswith("a step is judged on at least")
    assert known["max_error_percent"].endswith("(a status of 500 or more, or no answer).")
    assert known["max_slowdown"].startswith("the candidate's p95")
    assert known["schema"].startswith("compatible: callers of what is live notice nothing")
    assert describe_keys(BatchJobConfig)["whole_table"] == describe_keys(BatchJobConfig)["group_by"]


FAULTS = [
    ({"num_replicas": "two"}, "num_replicas", "write a whole number"),
    ({"num_replicas": "0"}, "num_replicas", "must be at least 1"),
    ({"timeout_s": "1,5"}, "timeout_s", "write a number, with a point for decimals"),
    ({"timeout_s": "inf"}, "timeout_s", "write a finite number"),
    ({"batching": "some"}, "batching", "must be one of 'auto' or 'none'"),
    ({"max_age": "8 days"}, "max_age", "write a length such as 30m, 36h or 8d"),
    ({"gates.tags": "approved"}, "gates.tags", "write `key: value` on each line"),
    ({"gates.metrics": "auc >= 0.8\nauc >"}, "gates.metrics", "line 2: "),
    ({"gates.sla.p99_ms": "-1"}, "gates.sla.p99_ms", "must be more than 0"),
    ({"autoscaling.min": "0"}, "autoscaling.max", "is needed"),
    ({"autoscaling.min": "3", "autoscaling.max": "2"}, "autoscaling", "the most cannot be fewer"),
    ({"num_replicas": "2", "autoscaling.max": "4"}, "", "exclude each other"),
    ({"rollout.strategy": "canary"}, "rollout", "`canary` needs `steps`"),
    ({"rollout.steps.2.share": "5"}, "rollout.steps.0", "a step ends by `minutes`"),
    ({"rollout.steps.0.minutes": "5"}, "rollout.steps.0.share", "is needed"),
]


@pytest.mark.parametrize(
    ("typed", "where", "says"), FAULTS, ids=[f"{one[1]}-{n}" for n, one in enumerate(FAULTS)]
)
def test_a_fault_is_told_at_its_field_in_plain_words(
    typed: dict[str, str], where: str, says: str
) -> None:
    reading = read(DeploymentConfig, compact(DeploymentConfig, typed))
    assert reading.config is None
    assert list(reading.faults) == [where]
    assert says in reading.faults[where]


def test_every_fault_is_told_at_once() -> None:
    typed = {"num_replicas": "x", "gates.tags": "x", "resources.num_cpus": "-1"}
    assert set(read(DeploymentConfig, typed).faults) == set(typed)


def test_the_environment_of_the_server_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    typed = typed_of(JOB) | {"input.path": "s3://w/$SECRET", "output.path": "~/out"}
    reading = read(BatchJobConfig, typed)
    assert set(reading.faults) == {"input.path", "output.path"}
    assert "hush" not in str(reading)


def test_a_list_shows_what_is_there_and_an_empty_element() -> None:
    typed = typed_of(FULL)
    titles = [one.title for one in sections_of(DeploymentConfig, typed) if one.list]
    assert titles == ["rollout.steps 1", "rollout.steps 2", "rollout.steps 3"]
    more = sections_of(DeploymentConfig, typed, more="rollout.steps")
    assert len([one for one in more if one.list]) == 4
    typed |= dict.fromkeys(("rollout.steps.0.share", "rollout.steps.0.minutes"), "")
    (step,) = read(DeploymentConfig, compact(DeploymentConfig, typed)).config.rollout.steps  # type: ignore[union-attr]
    assert step == RolloutStep(share=50, requests=7)
