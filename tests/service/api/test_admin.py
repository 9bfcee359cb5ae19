"""Models changed over HTTP while they serve: versions come, become current and go, and a broken one harms no other."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access import new_key
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[httpx.Response]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]
WriteModel = Callable[..., ModelSpec]


@pytest.fixture
def root(tmp_path: Path, write_blocks: WriteModel) -> Path:
    """A repository: `blocks` with version 2 and the current 1, and `others` with 1."""
    for name, version in (("others", "1"), ("blocks", "2"), ("blocks", "1")):
        write_blocks(tmp_path / "models", name, version)
    return tmp_path / "models"


@pytest.fixture
async def admin(make_client: MakeClient, root: Path, tmp_path: Path) -> httpx.AsyncClient:
    token, entry = new_key("chief", ["detect", "admin"])
    (tmp_path / "keys.toml").write_text(entry)
    client = await make_client(model_repository=root, keys_file=tmp_path / "keys.toml")
    client.headers["x-api-key"] = token
    return client


async def change(client: httpx.AsyncClient, what: str, *, name: str = "blocks", version: str = "2") -> httpx.Response:
    return await client.post(f"/v1/models/{name}/{what}", params={"version": version})


async def told(client: httpx.AsyncClient, name: str = "blocks") -> dict[str, Any]:
    answer = await client.get(f"/v1/models/{name}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def loaded(client: httpx.AsyncClient) -> list[tuple[str, str, bool]]:
    models = (await client.get("/v1/models")).json()["models"]
    return [(model["name"], model["version"], model["current"]) for model in models if model["ready"]]


async def test_one_model_tells_its_versions(admin: httpx.AsyncClient):
    before = await told(admin)
    assert (before["version"], before["current"], before["available"]) == ("1", True, ["1", "2"])
    await change(admin, "load")
    after = await told(admin)
    assert [(model["version"], model["current"]) for model in after["versions"]] == [("1", True), ("2", False)]
    assert after["engine"].startswith("openvino")


async def test_a_loaded_version_is_served_beside_the_current_one(admin: httpx.AsyncClient, post: Post, png: bytes):
    assert (await post(admin, png, "?version=2")).status_code == 404
    answer = await change(admin, "load")
    assert (answer.status_code, answer.json()["version"], answer.json()["ready"]) == (200, "2", True)
    assert (await post(admin, png, "?version=2")).json()["model"] == {"name": "blocks", "version": "2"}
    assert (await post(admin, png)).json()["model"]["version"] == "1"
    assert (await change(admin, "load")).status_code == 200  # once more changes nothing


async def test_without_a_version_the_one_that_the_repository_calls_current_is_loaded(admin: httpx.AsyncClient):
    answer = await admin.post("/v1/models/others/load")
    assert (answer.status_code, answer.json()["version"]) == (200, "1")


async def test_a_promoted_version_answers_who_names_none(admin: httpx.AsyncClient, post: Post, png: bytes, root: Path):
    answer = await change(admin, "promote")
    assert (answer.status_code, answer.json()["current"]) == (200, True)
    assert (await post(admin, png)).json()["model"]["version"] == "2"
    assert (await post(admin, png, "?version=1")).json()["model"]["version"] == "1"
    assert json.loads((root / "blocks" / "spec.json").read_text())["version"] == "2"  # and after a restart


async def test_a_version_that_was_replaced_can_be_unloaded(admin: httpx.AsyncClient, post: Post, png: bytes):
    await change(admin, "promote")
    answer = await change(admin, "unload", version="1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await post(admin, png, "?version=1")).status_code == 404
    assert (await post(admin, png)).json()["model"]["version"] == "2"
    assert ("blocks", "1", True) not in await loaded(admin)


async def test_the_current_version_cannot_be_unloaded(admin: httpx.AsyncClient):
    await change(admin, "load")
    answer = await change(admin, "unload", version="1")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:yolov7-service:problem:model-conflict")
    assert "promote another one first" in answer.json()["detail"]


async def test_another_model_can_be_unloaded_whole_and_loaded_again(admin: httpx.AsyncClient, post: Post, png: bytes):
    assert (await change(admin, "unload", name="others", version="1")).status_code == 204
    assert (await post(admin, png, "?model=others")).status_code == 404
    assert (await admin.get("/v1/models/others")).status_code == 404
    assert (await change(admin, "load", name="others", version="1")).status_code == 200
    assert (await post(admin, png, "?model=others")).status_code == 200


@pytest.mark.parametrize("what", ["load", "promote", "unload"])
async def test_an_unknown_model_is_404(admin: httpx.AsyncClient, what: str):
    for name in ("unicorns", "..", "%2e%2e%2fblocks"):
        answer = await change(admin, what, name=name, version="1")
        assert (answer.status_code, answer.json()["status"]) == (404, 404)


async def test_a_version_that_is_not_loaded_cannot_be_unloaded(admin: httpx.AsyncClient):
    answer = await change(admin, "unload", version="2")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:yolov7-service:problem:unknown-model")


@pytest.mark.parametrize("what", ["promote", "unload"])
async def test_a_change_without_its_version_is_pointed_at(admin: httpx.AsyncClient, what: str):
    answer = await admin.post(f"/v1/models/blocks/{what}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/version")


def damage_file(root: Path, spec: ModelSpec) -> None:
    (root / "blocks" / spec.version / "model.onnx").write_bytes(b"half a fi")


def damage_graph(root: Path, spec: ModelSpec) -> None:
    """The file is the one that its spec speaks of, but it is no graph."""
    damage_file(root, spec)
    lying = replace(spec, sha256=hashlib.sha256(b"half a fi").hexdigest())
    (root / "blocks" / spec.version / "spec.json").write_text(lying.to_json())


@pytest.mark.parametrize("what", ["load", "promote"])
@pytest.mark.parametrize(("damage", "reason"), [(damage_file, "sha256"), (damage_graph, "compile")])
async def test_a_broken_version_says_why_and_harms_no_other(
    admin: httpx.AsyncClient, post: Post, png: bytes, root: Path, write_blocks: WriteModel, what: str, damage: Any,
    reason: str,
):  # fmt: skip
    damage(root, write_blocks(root, "blocks", "3"))
    answer = await change(admin, what, version="3")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:yolov7-service:problem:model-conflict")
    assert reason in answer.json()["detail"]
    assert (await post(admin, png)).json()["model"]["version"] == "1"
    assert await loaded(admin) == [("blocks", "1", True), ("others", "1", True)]
    assert (await change(admin, "promote")).status_code == 200


async def test_a_version_that_sees_something_else_is_not_promoted(
    admin: httpx.AsyncClient, post: Post, png: bytes, root: Path
):
    path = root / "blocks" / "2" / "spec.json"
    spec = ModelSpec.from_json(path.read_text())
    known = spec.known_images[0]
    path.write_text(replace(spec, known_images=(replace(known, seed=known.seed + 1),)).to_json())
    answer = await change(admin, "promote")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:yolov7-service:problem:model-conflict")
    assert "known image" in answer.json()["detail"]
    assert (await post(admin, png)).json()["model"]["version"] == "1"
