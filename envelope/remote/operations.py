"""What a registry server can be asked, said once for the server, the client and OpenAPI.

An operation is a method of `Registry` at a verb and a path. Its parameters and its answer are those
of the method: those named in the path go there, `actor` goes into a header, the rest into the query
(GET, DELETE) or the body.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import msgspec

from envelope.registry import Registry, Role

Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Place = Literal["path", "query", "body", "header"]

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of the registry as a request.

    whole_body: the parameter that is the body itself; None makes an object of those that are left.
    """

    name: str
    verb: Verb
    path: str
    role: Role
    whole_body: str | None = None

    @property
    def signature(self) -> inspect.Signature:
        """The method's own, without `self`."""
        return _signature(self.name)

    @property
    def hints(self) -> Mapping[str, Any]:
        """The types of the parameters, and of the answer as `return`."""
        return _hints(self.name)

    @property
    def summary(self) -> str:
        """The first paragraph of the method's docstring."""
        text = inspect.getdoc(getattr(Registry, self.name)) or ""
        return " ".join(text.split("\n\n")[0].split())

    def place(self, parameter: str) -> Place:
        """Where a parameter travels."""
        if parameter == "actor":
            return "header"
        if f"{{{parameter}}}" in self.path:
            return "path"
        return "query" if self.verb in ("GET", "DELETE") else "body"

    def parameters(self, place: Place) -> list[str]:
        """The parameters that travel there."""
        return [name for name in self.signature.parameters if self.place(name) == place]

    def record(self, place: Place) -> type[msgspec.Struct]:
        """The type that holds the parameters of one place; what it does not know is refused."""
        return _record(self, place)


@cache
def _signature(name: str) -> inspect.Signature:
    signature = inspect.signature(getattr(Registry, name))
    return signature.replace(parameters=list(signature.parameters.values())[1:])


@cache
def _hints(name: str) -> Mapping[str, Any]:
    return typing.get_type_hints(getattr(Registry, name))


@cache
def _record(operation: Operation, place: Place) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for name in operation.parameters(place):
        default = operation.signature.parameters[name].default
        field = (name, operation.hints[name])
        fields.append(field if default is inspect.Parameter.empty else (*field, default))
    words = "".join(word.title() for word in operation.name.split("_"))
    return msgspec.defstruct(
        f"{words}{place.title()}", fields, kw_only=True, forbid_unknown_fields=True
    )


def segments(path: str) -> list[str]:
    """The names in braces of a path."""
    return re.findall(r"\{(\w+)\}", path)


def _of(role: Role, *rows: tuple[str, Verb, str]) -> list[Operation]:
    return [Operation(name=name, verb=verb, path=path, role=role) for name, verb, path in rows]


ENVELOPE = "/envelopes/{envelope_id}"
DEPLOYMENT = "/deployments/{deployment}"

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        *_of(
            "viewer",
            ("find_page", "GET", "/envelopes"),
            ("envelope", "GET", "/envelopes/{id_or_prefix}"),
            ("facts", "GET", f"{ENVELOPE}/facts"),
            ("history", "GET", f"{ENVELOPE}/history"),
            ("tag_history", "GET", f"{ENVELOPE}/tags/history"),
            ("metrics", "GET", f"{ENVELOPE}/metrics"),
            ("proofs", "GET", f"{ENVELOPE}/proofs"),
            ("metric_page", "GET", "/metrics"),
            ("field_page", "GET", "/fields"),
            ("changes", "GET", "/changes"),
            ("last_change", "GET", "/changes/last"),
            ("recent_changes", "GET", "/changes/recent"),
            ("wait_for_change", "GET", "/changes/wait"),
            ("last_beat", "GET", "/controllers/last-beat"),
            ("controllers", "GET", "/controllers"),
            ("lease", "GET", "/controllers/leader"),
            ("state", "GET", "/state"),
            ("deployments", "GET", "/deployments"),
            ("deployment_config", "GET", "/deployments/{name}/configs/{version}"),
            ("live_at", "GET", f"{DEPLOYMENT}/live"),
            ("rules", "GET", "/rules"),
            ("templates", "GET", "/templates"),
            ("tag_values", "GET", "/tags/values"),
            ("batch_jobs", "GET", "/batch-jobs"),
            ("exclusions", "GET", "/exclusions"),
            ("pause", "GET", "/pause"),
            ("releases", "GET", "/releases"),
            ("release", "GET", "/releases/{release_id}"),
            ("release_events", "GET", "/releases/{release_id}/events"),
            ("arms", "GET", "/releases/{release_id}/arms"),
            ("gate_runs", "GET", f"{DEPLOYMENT}/gate-runs/{{envelope_id}}"),
        ),
        *_of(
            "author",
            ("add_function", "POST", f"{ENVELOPE}/functions"),
            ("log_metrics", "POST", f"{ENVELOPE}/metrics"),
            ("add_proof", "POST", f"{ENVELOPE}/proofs"),
            ("check_may_tag", "POST", "/tags/check"),
        ),
        Operation(
            name="set_tags",
            verb="PATCH",
            path=f"{ENVELOPE}/tags",
            role="author",
            whole_body="changed",
        ),
        *_of(
            "deployer",
            ("request_deploy", "POST", f"{DEPLOYMENT}/releases"),
            ("unpin", "DELETE", f"{DEPLOYMENT}/pin"),
            ("request_rollback", "POST", f"{DEPLOYMENT}/rollbacks"),
            ("end_experiment", "PUT", f"{DEPLOYMENT}/experiment/winner"),
            ("allow", "DELETE", f"{DEPLOYMENT}/exclusions/{{envelope_id}}"),
            ("request_undeploy", "DELETE", DEPLOYMENT),
            ("plan_state", "POST", "/state/plan"),
            ("apply_state", "POST", "/state"),
            ("pause_all", "PUT", "/pause"),
            ("resume_all", "DELETE", "/pause"),
        ),
        *_of(
            "admin",
            ("create_release", "POST", "/releases"),
            ("make_deployment", "PUT", f"{DEPLOYMENT}/making"),
            ("move_release", "POST", "/releases/{release_id}/events"),
            ("record_arms", "PUT", "/releases/{release_id}/arms"),
            ("beat", "PUT", "/controllers/{controller_id}"),
            ("tokens", "GET", "/tokens"),
            ("create_token", "POST", "/tokens"),
            ("revoke_token", "DELETE", "/tokens/{token_id}"),
        ),
    )
}
