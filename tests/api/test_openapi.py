"""The OpenAPI document says everything there is, and nothing that is not there yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from litestar.routes import HTTPRoute
from rest_kit import client_of, refusing_app

from taskscheduler.api.openapi import document, operation_of

APP = refusing_app()
DOCUMENT = document(APP)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_is_described() -> None:
    missing = [
        (route.path, handler.handler_name)
        for route in APP.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.http_methods != {"OPTIONS"} and operation_of(handler) is None
    ]
    assert not missing
    ids = [operation["operationId"] for *_, operation in operations()]
    assert len(set(ids)) == len(ids) - 1, "only openapi.json has two paths"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    used = set(references(DOCUMENT))
    for reference in used:
        found = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert schemas - used == {"#/components/schemas/LiveEvent"}, (
        "the data of server-sent events has no place of its own"
    )


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one_and_its_examples_fit(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    validator = jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]}, validate_formats=True)
    for example in schema.get("examples", []):
        validator.validate(example)


def test_every_operation_says_what_it_takes_and_answers() -> None:
    for path, method, operation in operations():
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), path
        assert {"400", "500"} <= set(responses), path
        parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert {part[1:-1] for part in path.split("/") if part.startswith("{")} <= parameters, path
        if method in ("post", "patch", "put", "delete") and path != "/api/schedules/preview":
            assert "Idempotency-Key" in parameters, path
            assert "503" in responses, path
        if "requestBody" in operation:
            assert {"413", "415", "422"} <= set(responses), path
            for content in operation["requestBody"]["content"].values():
                assert content["examples"], path


async def test_the_document_and_its_page_are_served_and_load_nothing_from_elsewhere() -> None:
    async with client_of(APP) as api:
        assert (await api.get("/openapi.json")).json() == DOCUMENT
        assert (await api.get("/schema/openapi.json")).json() == DOCUMENT
        page = (await api.get("/docs")).text
    assert "<script" not in page
    assert "src=" not in page
    assert "@import" not in page
    assert 'rel="stylesheet"' not in page
    for path, _, operation in operations():
        assert path in page
        assert f'id="{operation["operationId"]}"' in page
