from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

import envelope as me
from ray_runtime.protocols.snippets import ORIGIN
from tests.unit.runtime.conftest import Answered, Client, serving


def get(envelope: me.Envelope, *paths: str) -> list[Answered]:
    async def ask(client: Client) -> list[Answered]:
        return [await client.ask("GET", path) for path in paths]

    return serving(envelope, ask)


def test_the_index_says_what_this_is_and_where_to_go(sums: me.Envelope) -> None:
    index, with_slash = get(sums, "", "/")
    assert index.json == with_slash.json
    assert index.json["envelope_id"] == sums.id
    assert index.json["functions"] == ["predict"]
    paths = [path.removeprefix("/ltv") for path in index.json["links"].values()]
    statuses = {answer.status for answer in get(sums, *paths)}
    assert statuses == {200, 405}  # the two queries take POST


def test_model_info_is_the_manifest_without_bytes(sums: me.Envelope) -> None:
    (info,) = get(sums, "/v0/model_info")
    function = info.json["functions"]["predict"]
    assert function["row_wise"]["is_row_wise"]
    assert function["served"]["called_on"] == "loop"
    assert function["served"]["shares_calls"]
    assert function["served"]["sample_replay"]["outcome"] == "equal"
    assert info.json["release"] == {"id": "release-1"}
    assert info.json["environment"]["packages"]["pandas"]
    assert "sha256" not in info.body.decode()


@pytest.mark.parametrize("path", ["", "/v0/model_info", "/docs", "/openapi.json"])
def test_head_answers_as_get_does(sums: me.Envelope, path: str) -> None:
    async def ask(client: Client) -> list[Answered]:
        return [await client.ask(method, path) for method in ("HEAD", "GET")]

    head, got = serving(sums, ask)
    assert head.status == 200
    assert head.headers == got.headers


def test_the_docs_page_needs_nothing_from_elsewhere(sums: me.Envelope) -> None:
    (page,) = get(sums, "/docs")
    text = page.body.decode()
    assert "://" not in text.replace(ORIGIN, "")  # which the examples ask
    names = re.findall(r'(?:src|href)="([^"]+)"', text)
    names = [name for name in names if name not in ("openapi.json", "v0/model_info")]
    assert len(names) == 4
    for name, answer in zip(names, get(sums, *(f"/{name}" for name in names)), strict=True):
        assert answer.status == 200, name
        assert len(answer.body) > 100


class TestOpenApi:
    @pytest.fixture
    def document(self, sums: me.Envelope) -> Any:
        return get(sums, "/openapi.json")[0].json

    def test_describes_every_route(self, document: Any, sums: me.Envelope) -> None:
        assert document["openapi"].startswith("3.1")
        models = ["/v2/models/ltv", f"/v2/models/ltv/versions/{sums.id}"]
        assert set(document["paths"]) == {
            f"/ltv{path}"
            for path in (
                *("", "/v0/query", "/v0/query/predict", "/v0/query_bulk", "/v0/model_info"),
                *("/v2", "/v2/health/live", "/v2/health/ready", *models),
                *(model + "/ready" for model in models),
                *(model + "/infer" for model in models),
                *("/invocations", "/ping", "/health", "/version"),
            )
        }

    def test_operation_ids_are_unique(self, document: Any) -> None:
        ids = [
            operation["operationId"]
            for path in document["paths"].values()
            for operation in path.values()
        ]
        assert len(ids) == len(set(ids)) == len(document["paths"])

    def test_no_schema_is_untyped(self, document: Any) -> None:
        found = list(_schemas(document, ""))
        assert len(found) > 100
        untyped = [
            place
            for place, schema in found
            if not schema.keys() & {"type", "$ref", "anyOf", "enum", "const"}
        ]
        assert untyped == []

    def test_the_examples_fit_the_schemas(self, document: Any) -> None:
        post = document["paths"]["/ltv/v0/query"]["post"]
        body = post["requestBody"]["content"]["application/json"]
        answer = post["responses"]["200"]["content"]["application/json"]
        for content in (body, answer):
            schema = {**content["schema"], "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(content["example"])

    def test_a_wrong_body_does_not_fit(self, document: Any) -> None:
        schema = {
            "$ref": "#/components/schemas/predict.input",
            "components": document["components"],
        }
        checker = jsonschema.Draft202012Validator(schema)
        assert not checker.is_valid({"x": "one", "y": 2})
        assert not checker.is_valid({"x": 1})

    def test_a_split_frame_may_leave_out_its_columns(self, document: Any) -> None:
        post = document["paths"]["/ltv/invocations"]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        checker = jsonschema.Draft202012Validator(schema | {"components": document["components"]})
        checker.validate({"dataframe_split": {"data": [[1.0, 2.0]]}})
        assert not checker.is_valid({"dataframe_split": {"columns": ["x", "y"]}})

    def test_no_reference_hangs(self, document: Any) -> None:
        for reference in _references(document):
            found = document
            for key in reference.removeprefix("#/").split("/"):
                found = found[key]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for member in value.values() for ref in _references(member)]
    if isinstance(value, list):
        return [ref for member in value for ref in _references(member)]
    return []


def _schemas(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a document: below `schema` and `schemas`, and whatever those hold."""
    if isinstance(value, list):
        for at, one in enumerate(value):
            yield from _schemas(one, f"{place}/{at}")
    if not isinstance(value, dict):
        return
    for name, one in value.items():
        if name in ("schema", "items", "additionalProperties") and isinstance(one, dict):
            yield f"{place}/{name}", one
        if name in ("schemas", "properties", "$defs") and isinstance(one, dict):
            yield from ((f"{place}/{name}/{key}", schema) for key, schema in one.items())
        if name in ("anyOf", "prefixItems"):
            yield from ((f"{place}/{name}/{at}", schema) for at, schema in enumerate(one))
        if name not in ("example", "default"):
            yield from _schemas(one, f"{place}/{name}")
