"""The YAML that people write: deployments, rules and batch jobs. Unknown keys are errors.

Pydantic checks it at the door; the rest of the code sees these frozen models only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from envelope.deployment_names import check_deployment_name, is_template, read_template
from envelope.errors import ConfigError, QueryError
from envelope.metric_gates import parse_metric_gate


class _Config(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )


class Resources(_Config):
    """What one replica reserves on its node.

    num_cpus: cores, or a part of one. num_gpus: likewise. memory_bytes: None reserves none.
    """

    num_cpus: float = Field(default=0.25, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    memory_bytes: int | None = Field(default=None, gt=0)


def _check_metric_gate(text: str) -> str:
    try:
        parse_metric_gate(text)
    except QueryError as exc:
        raise ValueError(str(exc)) from None
    return text


class Sla(_Config):
    """p99_ms: of calls with the sample, measured by each replica before it counts as ready."""

    p99_ms: float = Field(gt=0)


FROM_FILE = {"is_file": True}  # the context of what is read from a file


def _expand(path: str, info: ValidationInfo) -> str:
    if not (info.context or {}).get("is_file"):
        return path  # of a request: this process's environment is none of the caller's business
    expanded = os.path.expanduser(os.path.expandvars(path))
    if "$" in expanded:
        raise ValueError("names an environment variable that is not set here")
    return expanded


# A place that differs from machine to machine: `$VARIABLE` and `~` are filled in where a file is
# read, and only there.
Location = Annotated[str, StringConstraints(min_length=1), AfterValidator(_expand)]


def _check_working_dir(path: str) -> str:
    if "://" not in path and not os.path.isabs(path):
        raise ValueError(
            "write the folder in full, as it is where the controller runs, or the URL of a zip "
            "file such as s3://bucket/validation.zip"
        )
    return path


WorkingDir = Annotated[Location, AfterValidator(_check_working_dir)]


FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _check_function(text: str) -> str:
    if not FUNCTION.fullmatch(text):
        raise ValueError("write package.module:function")
    return text


class Check(_Config):
    """A function that judges a candidate, in the candidate's environment.

    function: package.module:function, called with the loaded envelope and the id of the live one.
    working_dir: a folder where the controller runs, or the URL of a zip file, in which it is found;
    else it is one of the candidate's own modules or packages.
    timeout_s: for loading the candidate and the call; then it is stopped, and nothing is judged.
    """

    function: Annotated[str, AfterValidator(_check_function)]
    working_dir: WorkingDir | None = None
    timeout_s: float = Field(default=300, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_name(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value


class ValidationJob(_Config):
    """A job of the cluster that scores a candidate, and fails if it should not be live.

    entrypoint: the command; {envelope_id} and {deployment} are filled in.
    working_dir: a folder where the controller runs, or the URL of a zip file, in which it starts.
    timeout_s: of its run; then it is stopped, and nothing is judged.
    """

    entrypoint: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
    working_dir: WorkingDir | None = None
    timeout_s: float = Field(default=3600, gt=0)


class Gates(_Config):
    """What an envelope must pass before it is live on a deployment.

    proved: there is a proof. tags: key -> the value that it must have.
    metrics: such as "auc >= 0.8", or "auc >= live - 0.01" next to what is live.
    schema: compatible: callers of what is live notice nothing; any: not judged.
    sla: the sample is answered in time.
    check: a function says that it may be live. validation_job: a job of the cluster succeeds.
    """

    proved: bool = False
    tags: dict[str, str] = {}
    metrics: tuple[Annotated[str, AfterValidator(_check_metric_gate)], ...] = ()
    interface: Literal["compatible", "any"] = Field(default="compatible", alias="schema")
    sla: Sla | None = None
    check: Check | None = None
    validation_job: ValidationJob | None = None


_AGE = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _check_age(text: str) -> str:
    if not _AGE.fullmatch(text):
        raise ValueError("write a length such as 30m, 36h or 8d")
    return text


def read_age(text: str) -> timedelta:
    """Read a length of time as it is written in YAML: 30m, 36h, 8d."""
    match = _AGE.fullmatch(text)
    assert match is not None  # checked where it came in
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


class RolloutStep(_Config):
    """One part of a rollout; it ends by time or by a number of answers.

    share: percent of the queries that the candidate gets. minutes: how long. requests: how many
    queries the candidate answers.
    """

    share: float = Field(gt=0, le=100)
    minutes: float | None = Field(default=None, gt=0)
    requests: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ends_one_way(self) -> Self:
        if (self.minutes is None) == (self.requests is None):
            raise ValueError("a step ends by `minutes` or by `requests`: name one of them")
        return self


HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"  # a token of RFC 9110


class Sticky(_Config):
    """What of a query says whose it is; whoever it is gets the answers of the same envelope.

    header: its name. field: a member of the JSON that is sent, text or a whole number.
    """

    header: Annotated[str, StringConstraints(pattern=HEADER_NAME)] | None = None
    field: Annotated[str, StringConstraints(min_length=1)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.header is None) == (self.field is None):
            raise ValueError("queries are told apart by a `header` or by a `field`: name one")
        return self


class Rollout(_Config):
    """How a new envelope takes the place of the live one.

    strategy: replace at once; canary: the candidate first answers a share of the queries; shadow:
    it first gets copies of them, and its answers are compared and thrown away; experiment: it
    answers a fixed share of the callers, until somebody ends that.
    share: of an experiment, percent of the callers. sticky: what tells callers apart.
    min_requests: a step is judged on at least so many queries that the candidate got.
    max_error_percent: of them, at most this share may fail (a status of 500 or more, or no answer).
    max_slowdown: the candidate's p95 may be this many times the live one's of the same time.
    max_different_percent: of the copies, at most this share may be answered otherwise; None: not
    judged, since another model seldom says the same.
    """

    strategy: Literal["replace", "canary", "shadow", "experiment"] = "replace"
    steps: tuple[RolloutStep, ...] = ()
    share: float | None = Field(default=None, gt=0, lt=100)
    sticky: Sticky | None = None
    min_requests: int = Field(default=20, ge=1)
    max_error_percent: float = Field(default=1, ge=0, lt=100)
    max_slowdown: float = Field(default=3, ge=1)
    max_different_percent: float | None = Field(default=None, ge=0, lt=100)

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if self.strategy == "replace" and self.steps:
            raise ValueError("`replace` has no steps; use `strategy: canary`")
        if self.strategy in ("canary", "shadow") and not self.steps:
            raise ValueError(f"`{self.strategy}` needs `steps`, such as {{share: 5, minutes: 10}}")
        self._check_experiment()
        if self.max_different_percent is not None and self.strategy != "shadow":
            raise ValueError("max_different_percent is judged by `strategy: shadow` only")
        return self

    def _check_experiment(self) -> None:
        if self.strategy != "experiment":
            if self.share is not None or self.sticky is not None:
                raise ValueError("`share` and `sticky` are of `strategy: experiment` only")
            return
        if self.steps:
            raise ValueError("`experiment` has no steps; it has one `share`, until it is ended")
        if self.share is None or self.sticky is None:
            raise ValueError(
                "`experiment` needs `share` and `sticky`, such as "
                "`share: 50, sticky: {header: X-User-Id}`"
            )


class Autoscaling(_Config):
    """How many replicas answer, by load.

    min, max: the fewest and the most; 0: none while nobody asks, and the first query waits for a
    start. target_ongoing_requests: answered at once by a replica; more load starts another one.
    downscale_delay_s: how long the load must have been lower before a replica ends.
    """

    min: int = Field(default=1, ge=0)
    max: int = Field(ge=1)
    target_ongoing_requests: float = Field(default=8, gt=0)
    downscale_delay_s: float = Field(default=300, ge=10)  # the load is averaged over 10 s

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, and max {self.max}: the most cannot be fewer")
        return self


class DeploymentConfig(_Config):
    """How one deployment is served.

    num_replicas: processes that answer. autoscaling: instead of it, as many as the load takes.
    resources: what each of them reserves on its node.
    timeout_s: from the request's arrival to its answer, else 504.
    max_queue: requests waiting per replica before 429.
    batching: auto shares calls where the function is proved row-wise.
    extra_columns: what a column or member that the schema does not name is: a fault, or ignored.
    start_timeout_s: a start that is not ready by then has failed.
    max_body_bytes: of a request, also after decompression, else 413.
    gates: what an envelope must pass before it is live.
    max_age: of the envelope that is live, since it was saved; older ones raise an alarm.
    rollout: how a new envelope takes the place of the live one.
    keep_warm_s: how long what it replaces goes on running, so that a rollback takes no start.
    """

    num_replicas: int = Field(default=1, ge=1)
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    timeout_s: float = Field(default=30, gt=0)
    max_queue: int = Field(default=200, ge=1)
    batching: Literal["auto", "none"] = "auto"
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    start_timeout_s: float = Field(default=300, gt=0)
    max_body_bytes: int = Field(default=100 * 1024 * 1024, gt=0)
    gates: Gates = Gates()
    max_age: Annotated[str, AfterValidator(_check_age)] | None = None
    rollout: Rollout = Rollout()
    keep_warm_s: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _is_scaled_one_way(self) -> Self:
        if self.autoscaling is not None and self.num_replicas != 1:
            raise ValueError(
                f"num_replicas ({self.num_replicas}) and autoscaling exclude each other: remove "
                "num_replicas, or write it as autoscaling.min"
            )
        return self


class RuleConfig(_Config):
    """Which envelopes a deployment wants: the newest that matches the query.

    query: which envelopes are wanted. deploy_to: the deployment that the newest of them goes to;
    with a template such as "ltv_{tags.region}", one deployment per value of the tag.
    priority: of several rules for one deployment the highest with a match decides.
    paused: it changes nothing; what is live stays.
    """

    query: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
    deploy_to: str
    priority: int = 0
    paused: bool = False


class BatchInput(_Config):
    """path: a file, folder or glob on any fsspec URL. format: None is found from the suffix."""

    path: Location
    format: Literal["parquet", "csv"] | None = None


class BatchOutput(_Config):
    """path: a folder of our own. keep_columns: input columns carried over beside the output."""

    path: Location
    keep_columns: tuple[str, ...] | Literal["all"] = ()


class BatchJobConfig(_Config):
    """An envelope over a table.

    query: which envelope; the newest match. function: None is the envelope's default one.
    input: the table. output: where its answers go.
    whole_table, group_by: for whole-frame functions: one call over all rows, or one per group.
    concurrency: worker processes; None lets Ray Data decide.
    """

    query: str
    function: str | None = None
    input: BatchInput
    output: BatchOutput
    whole_table: bool = False
    group_by: tuple[str, ...] = ()
    concurrency: int | None = Field(default=None, ge=1)


class DesiredState(_Config):
    """One YAML file.

    deployments: by name; by a template that rules deploy to, those that it makes.
    protected_tags: key -> who may set or remove it; shell patterns such as "ci@*" of actors.
    """

    deployments: dict[str, DeploymentConfig] = {}
    rules: dict[str, RuleConfig] = {}
    batch_jobs: dict[str, BatchJobConfig] = {}
    protected_tags: dict[str, tuple[str, ...]] = {}


def read_desired_state(path: str | Path) -> DesiredState:
    """Read one YAML file, all its faults at once.

    Raises ConfigError naming the file and every key that is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not YAML: {exc}") from exc
    try:
        state = DesiredState.model_validate(raw or {}, strict=False, context=FROM_FILE)
    except ValidationError as exc:
        raise ConfigError(f"{path}:\n" + "\n".join(describe_faults(exc))) from exc
    for name in state.deployments:
        check_deployment_key(name)
    return state


def check_deployment_key(key: str) -> None:
    """Raise ConfigError for a key of `deployments` that is neither a name nor a template."""
    if is_template(key):
        read_template(key)
    else:
        check_deployment_name(key)


def describe_faults(error: ValidationError) -> Iterable[str]:
    """A line for each fault, with its path."""
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        if fault["type"] == "extra_forbidden":
            yield f"  {where}: unknown key; see docs/config.md for the keys there are"
        else:
            yield f"  {where}: {fault['msg']}"
