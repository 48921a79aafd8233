"""What a deployment is: documents made once, when the replica starts."""

from __future__ import annotations

from typing import Any

import msgspec

from envelope.errors import EnvelopeError
from envelope.inputs import inputs_of
from envelope.load import LoadedFunction
from envelope.schema import json_schemas
from ray_runtime.lanes import Lane
from ray_runtime.live import Live, describe_replay
from ray_runtime.protocols import docs
from ray_runtime.protocols.examples import example_of
from ray_runtime.protocols.http import Route, document
from ray_runtime.protocols.operations import document_operation
from ray_runtime.protocols.snippets import query_path, snippets


def routes(live: Live) -> list[Route]:
    """Return `GET /<deployment>` and `GET /<deployment>/v0/model_info`."""
    base = f"/{live.options.deployment}"
    index = msgspec.json.encode(describe(live))
    info = msgspec.json.encode(model_info(live), enc_hook=_encode_odd)
    return [
        document(
            base,
            index,
            operation=document_operation("index", "What this deployment is", describe(live)),
        ),
        document(f"{base}/", index),
        document(
            f"{base}/v0/model_info",
            info,
            operation=document_operation(
                "model_info", "The live envelope: all but its bytes", msgspec.json.decode(info)
            ),
        ),
        *docs.routes(live),
    ]


def describe(live: Live) -> dict[str, Any]:
    """Return what the deployment is, and where to go from here."""
    manifest, base = live.envelope.manifest, f"/{live.options.deployment}"
    return {
        "deployment": live.options.deployment,
        "envelope_id": manifest.id,
        "name": manifest.name,
        "description": manifest.description,
        "default_function": manifest.default_function,
        "functions": list(live.lanes),
        "links": {
            "query": f"{base}/v0/query",
            "query_bulk": f"{base}/v0/query_bulk",
            "model_info": f"{base}/v0/model_info",
            "docs": f"{base}/docs",
            "openapi": f"{base}/openapi.json",
        },
    }


def model_info(live: Live) -> dict[str, Any]:
    """Return the manifest without bytes, and how this replica serves it.

    inputs: in words, with what was seen in training. examples: as a shell or Python takes them.
    tags are those of save time: the registry has them as they are now.
    """
    manifest = live.envelope.manifest
    environment = manifest.environment
    return {
        **describe(live),
        "created_at": manifest.created_at,
        "created_by": manifest.created_by,
        "tags_at_save": manifest.tags,
        "hyperparameters": manifest.hyperparameters,
        "context": manifest.context,
        "environment": {
            "python": environment.python,
            "platform": environment.platform,
            "packages": {one.name: one.version for one in environment.packages},
            "modules": [one.name for one in environment.modules],
        },
        "functions": {name: _function(lane, live) for name, lane in live.lanes.items()},
        "release": {"id": live.options.release_id},
    }


def _function(lane: Lane, live: Live) -> dict[str, Any]:
    function: LoadedFunction = lane.function
    schemas = json_schemas(function.schema)
    example = example_of(function, lane.checker)
    return {
        "description": function.function.description,
        "inputs": [one._asdict() for one in inputs_of(function.function)],
        "examples": {} if example is None else snippets(query_path(live, lane), example),
        "input": schemas.input,
        "output": schemas.output,
        "row_wise": function.row_wise,
        "statistics": function.function.statistics,
        "sample": function.sample,
        "no_sample_reason": function.function.no_sample_reason,
        "served": {
            "called_on": lane.place,
            "shares_calls": lane.is_shared,
            "call_ms": lane.pace.call_ms,
            "sample_replay": describe_replay(live.replays[function.name]),
        },
    }


def _encode_odd(value: Any) -> Any:
    """Hyperparameters and context may hold what JSON has no word for."""
    if isinstance(value, EnvelopeError):
        raise TypeError  # pragma: no cover - never stored
    return str(value)
