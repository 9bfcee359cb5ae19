"""The documentation that the application gives of itself."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.api.options import DetectOptions
from service.app import Service, build_application

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
    assert {"200", "400", "404", "406", "408", "413", "415", "422", "503", "504"} <= set(detect["responses"])
    for status, response in detect["responses"].items():
        assert list(response["content"]) == ["application/json" if status == "200" else "application/problem+json"]


async def test_each_route_documents_the_content_type_that_it_answers(
    client: httpx.AsyncClient, openapi: dict[str, Any]
):
    for path in ("/livez", "/readyz", "/metrics", "/v1/models"):
        documented = openapi["paths"][path]["get"]["responses"]["200"]["content"]
        answered = (await client.get(path)).headers["content-type"].partition(";")[0]
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
