"""Engine files with passports, through a whole service: admitted, refused, blind, and shown."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import httpx
import openvino as ov
import pytest

from service.app import Service, build_application
from service.engine.papers import admit
from service.engine.repository import open_model
from service.errors import ModelNotReady, RepositoryError
from service.vision.passport import EnginePassport
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

Change = Callable[..., Path]
MakeService = Callable[..., Awaitable[Service]]


@pytest.fixture
def with_passport(tmp_path: Path, write_blocks: Callable[..., ModelSpec]) -> Change:
    """A repository whose block finder has a passport: (changes of the passport)."""

    def write(**changes: object) -> Path:
        spec = write_blocks(tmp_path)
        passport = EnginePassport(
            file="model.onnx",
            format="onnx",
            precision="f32",
            sha256={"model.onnx": spec.sha256},
            made_from=spec.sha256,
            input_shapes=spec.input_shapes,
            versions={"onnxruntime": "1.0"},
            parent={"AP": 0.5},
            known_images=spec.known_images,
        )
        path = tmp_path / "blocks" / "1" / "model.onnx.passport.json"
        path.write_text(replace(passport, **changes).to_json())
        return tmp_path

    return write


async def test_a_passport_is_shown(make_service: MakeService, with_passport: Change):
    service = await make_service(model_repository=with_passport())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_application(service)), base_url="http://test"
    ) as client:
        shown = (await client.get("/v1/models/blocks")).json()
    assert shown["ready"]
    assert shown["passport"]["parent"] == {"AP": 0.5}
    assert shown["passport"]["versions"] == {"onnxruntime": "1.0"}
    assert "known_images" not in shown["passport"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sha256": {"model.onnx": "00"}}, "model.onnx is not the file its passport speaks of"),
        ({"sha256": {}}, "its passport has no sha256 of model.onnx"),
        (
            {"versions": {"a\nb": "\x1b[31m"}, "made_from": "00", "file": "a\nb"},
            "its passport is of a b; its passport has no sha256 of a b; it was",
        ),
        ({"file": "m" * 5000}, "mmm ..."),
        ({"made_from": "00"}, "it was made from another model.onnx"),
        ({"format": "tensorrt"}, "of format tensorrt, not onnx"),
        ({"input_shapes": ((128, 128),)}, "it is for 128x128, not for 128x128 64x128"),
    ],
)
async def test_a_foreign_or_corrupted_engine_is_refused_in_one_line(
    make_service: MakeService, with_passport: Change, changes: dict, match: str
):
    with pytest.raises(RepositoryError) as refusal:
        await make_service(model_repository=with_passport(**changes))
    assert match in str(refusal.value)
    assert str(refusal.value).startswith("blocks/1/model.onnx is refused: ")
    assert "\n" not in str(refusal.value)


async def test_a_passport_that_cannot_be_read_is_a_refusal(make_service: MakeService, with_passport: Change):
    root = with_passport()
    (root / "blocks" / "1" / "model.onnx.passport.json").write_text("{")
    with pytest.raises(RepositoryError, match=r"blocks/1/model\.onnx\.passport\.json: the passport is not JSON"):
        await make_service(model_repository=root)


TEXTS = {
    "nested": ("[" * 100_000, "the passport is not JSON: maximum recursion depth exceeded"),
    "large": (" " * (1 << 20) + "{}", "no passport is larger than 1 MiB"),
    "not UTF-8": ("\xff", "can't decode byte 0xff"),
    "a list": ("[]", "the passport is not a JSON object"),
}


@pytest.mark.parametrize("kind", TEXTS)
async def test_what_is_no_passport_is_refused_in_one_line(make_service: MakeService, with_passport: Change, kind: str):
    text, said = TEXTS[kind]
    root = with_passport()
    (root / "blocks" / "1" / "model.onnx.passport.json").write_text(text, encoding="latin-1")
    with pytest.raises(RepositoryError) as refusal:
        await make_service(model_repository=root)
    assert str(refusal.value).startswith("blocks/1/model.onnx.passport.json: ")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


async def test_another_version_is_warned_of_and_the_known_image_decides(
    make_service: MakeService, with_passport: Change, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "service.engine.papers"):
        service = await make_service(model_repository=with_passport(versions={"openvino": "2020.1"}))
    assert service.models.find("blocks").ready
    (line,) = [record.getMessage() for record in caplog.records if record.name == "service.engine.papers"]
    assert line.startswith("blocks/1/model.onnx: it was checked with openvino 2020.1, here is 20")


async def test_an_engine_that_drifted_takes_no_requests(
    make_service: MakeService, with_passport: Change, write_blocks: Callable[..., ModelSpec], tmp_path: Path
):
    spec = write_blocks(tmp_path / "other")
    drifted = tuple(replace(known, seed=8) for known in spec.known_images)
    service = await make_service(model_repository=with_passport(known_images=drifted))
    model = service.models.find("blocks")
    assert not model.ready
    assert model.reason.startswith("known image 128x128: candidate ")


async def test_one_model_without_an_int8_file_leaves_the_other_to_its_users(
    make_service: MakeService, with_passport: Change, write_blocks: Callable[..., ModelSpec]
):
    """As `--precision int8` says it, at the start and to those who ask for the model."""
    root = with_passport()
    write_blocks(root, "others")
    file = root / "blocks" / "1" / "model.int8.xml"
    ov.save_model(ov.Core().read_model(file.with_name("model.onnx")), file)
    digests = {part.name: sha256(part.read_bytes()).hexdigest() for part in (file, file.with_suffix(".bin"))}
    papers = EnginePassport.from_json(file.with_name("model.onnx.passport.json").read_text())
    papers = replace(papers, file=file.name, format="openvino", precision="int8", sha256=digests)
    file.with_name("model.int8.xml.passport.json").write_text(papers.to_json())
    service = await make_service(model_repository=root, precision="int8")
    assert service.models.find("blocks").ready
    with pytest.raises(
        ModelNotReady, match=r"others/1/model\.int8\.xml is missing, which precision int8 runs: yolov7-t"
    ):
        service.models.resolve("others")
    file.unlink()
    with pytest.raises(RepositoryError, match=r"^blocks/1/model\.int8\.xml is missing, which precision int8 runs"):
        await make_service(model_repository=root, precision="int8")


async def test_an_engine_without_a_passport_is_served_with_a_warning(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "service.engine.papers"):
        service = await make_service()
    assert service.models.find("blocks").ready
    assert "blocks/1/model.onnx has no passport" in caplog.text


def test_the_shipped_model_is_the_one_its_passport_speaks_of():
    stored = open_model(Path(__file__).parents[3] / "model_repository", "vehicles")
    passport = admit(stored, stored.onnx, versions=None)
    assert passport is not None
    assert {measured.precision for measured in passport.measurements} == {"f32", "bf16"}
    assert passport.parent["AP"] == pytest.approx(stored.spec.average_precision["AP"], abs=0.002)
