"""The documentation that the application gives of itself."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.api.problems import TABLE
from service.app import Service, build_application
from service.detector.options import DetectOptions
from service.vision.encode import MEDIA_TYPES

pytestmark = pytest.mark.anyio


@pytest.fixture
async def openapi(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_every_reference_leads_somewhere(openapi: dict[str, Any]):
    found = list(references(openapi))
    assert found
    for reference in found:
        node = openapi
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


async def test_detect_documents_its_options_bodies_and_errors(openapi: dict[str, Any]):
    detect = openapi["paths"]["/v1/detect"]["post"]
    named = {parameter["name"] for parameter in detect["parameters"]}
    assert named == {*DetectOptions.model_fields, "X-Request-Timeout-Ms"}
    assert set(detect["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/json"}
    refused = {str(status) for status, _, _ in TABLE.values()} - {"409", "499"}
    assert set(detect["responses"]) == refused | {"200"}
    assert set(detect["responses"]["200"]["content"]) == {"application/json", *MEDIA_TYPES}


async def test_every_error_is_documented_as_a_problem_or_in_its_protocols_own_form(openapi: dict[str, Any]):
    for path, method, operation in operations(openapi):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                own = "application/json" if path.startswith("/v1/vision/") else "application/problem+json"
                assert list(response["content"]) == [own], (path, method, status)


async def test_what_changes_a_model_documents_who_may_and_what_hinders_it(openapi: dict[str, Any]):
    for change, done in (("load", "200"), ("promote", "200"), ("unload", "204")):
        operation = openapi["paths"][f"/v1/models/{{name}}/{change}"]["post"]
        assert set(operation["responses"]) == {done, "401", "403", "404", "409", "422", "503"}
        assert {parameter["name"] for parameter in operation["parameters"]} == {"name", "version"}


async def test_what_may_be_refused_for_want_of_a_key_has_a_place_for_it(openapi: dict[str, Any]):
    schemes = openapi["components"]["securitySchemes"]
    assert {(told["type"], told.get("scheme", told.get("name"))) for told in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    for path, method, operation in operations(openapi):
        assert ("401" in operation["responses"]) == ("security" in operation), (path, method)


async def test_each_route_documents_the_content_type_that_it_answers(
    client: httpx.AsyncClient, openapi: dict[str, Any]
):
    for path in ("/livez", "/readyz", "/metrics", "/v1/models", "/v1/models/{name}"):
        documented = openapi["paths"][path]["get"]["responses"]["200"]["content"]
        answered = (await client.get(path.format(name="blocks"))).headers["content-type"].partition(";")[0]
        assert list(documented) == [answered]
        assert documented[answered]["schema"], path


async def test_the_answer_comes_with_an_example(openapi: dict[str, Any]):
    example = openapi["components"]["schemas"]["DetectAnswer"]["example"]
    assert set(example) == set(openapi["components"]["schemas"]["DetectAnswer"]["properties"])


async def test_a_parameter_that_fastapi_refuses_is_a_problem_too(service: Service):
    api = build_application(service)
    api.add_api_route("/square", _square)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        answer = await client.get("/square?n=many")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [finding["pointer"] for finding in answer.json()["errors"]] == ["/n"]


def _square(n: int) -> int:
    return n * n
