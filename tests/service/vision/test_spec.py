"""The passport survives its file, refuses a wrong one in a line, and the known image never changes."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from service.vision.detections import Candidates
from service.vision.spec import KnownImage, ModelSpec, SpecError, generate_image


@pytest.fixture
def spec() -> ModelSpec:
    rng = np.random.default_rng(0)
    candidates = Candidates(
        rng.uniform(0, 640, (3, 4)).astype(np.float32),
        rng.random(3).astype(np.float32),
        np.array([4, 0, 1], np.int32),
        np.array([700, 3, 3], np.int32),
    )
    return ModelSpec(
        name="vehicles",
        version="1",
        variant="tiny",
        class_names=("Ambulance", "Bus", "Größe 猫"),
        input_shapes=((640, 640), (384, 640)),
        max_candidates=1000,
        score_floor=0.001,
        precision="FP16",
        sha256="0" * 64,
        origin={"commit": "abc", "data": "vehicles"},
        average_precision={"vehicles/val served": 0.5},
        known_images=(KnownImage(7, (640, 640), candidates), KnownImage(7, (384, 640), candidates)),
    )


def changed(spec: ModelSpec, **changes: Any) -> str:
    return json.dumps(json.loads(spec.to_json()) | changes)


def test_a_spec_survives_its_file_to_the_last_bit(spec: ModelSpec) -> None:
    again = ModelSpec.from_json(spec.to_json())
    assert again.to_json() == spec.to_json()
    assert (again.class_names, again.input_shapes) == (spec.class_names, spec.input_shapes)
    for known, expected in zip(again.known_images, spec.known_images, strict=True):
        assert (known.seed, known.shape_hw) == (expected.seed, expected.shape_hw)
        for field in ("boxes", "scores", "classes", "predictions"):
            found, kept = getattr(known.candidates, field), getattr(expected.candidates, field)
            assert found.dtype == kept.dtype
            np.testing.assert_array_equal(found, kept)


def test_a_known_image_without_candidates_survives_too(spec: ModelSpec) -> None:
    nothing = Candidates(
        np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32)
    )
    empty = {"seed": 1, "shape_hw": [64, 64], "boxes": [], "scores": [], "classes": [], "predictions": []}
    (known,) = ModelSpec.from_json(changed(spec, known_images=[empty])).known_images
    assert known.candidates.boxes.shape == nothing.boxes.shape


@pytest.mark.parametrize("key", [*ModelSpec.__dataclass_fields__])
def test_a_missing_key_is_named(spec: ModelSpec, key: str) -> None:
    document = json.loads(spec.to_json())
    del document[key]
    with pytest.raises(SpecError, match=f"lacks {key}$"):
        ModelSpec.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown keys: colour"),
        ({"name": 5}, "name of the spec is 5, not str"),
        ({"max_candidates": "many"}, "max_candidates of the spec is 'many', not int"),
        ({"max_candidates": True}, "max_candidates of the spec is True, not int"),
        ({"score_floor": "low"}, "score_floor of the spec is 'low', not float"),
        ({"class_names": ["a", 1]}, "class_names of the spec is .*, not list of str"),
        ({"class_names": "abc"}, "class_names of the spec is 'abc', not list"),
        ({"input_shapes": []}, "input_shapes of the spec is .*, not list of .height, width."),
        ({"input_shapes": [[640]]}, "input_shapes"),
        ({"input_shapes": [[640, 0]]}, "input_shapes"),
        ({"known_images": [5]}, "known image is not a JSON object"),
        ({"known_images": []}, "the spec has no known image"),
        ({"known_images": [{"seed": 1}]}, "the known image lacks shape_hw, boxes, scores, classes, predictions"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(spec: ModelSpec, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        ModelSpec.from_json(changed(spec, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": ["high"]}, "numbers"),
        ({"boxes": [[1, 2, 3]]}, "numbers"),
        ({"scores": [0.5]}, "as many"),
        ({"shape_hw": [64]}, "shape_hw"),
    ],
)
def test_a_wrong_known_image_is_named(spec: ModelSpec, changes: dict[str, Any], message: str) -> None:
    known = json.loads(spec.to_json())["known_images"][0]
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_json(changed(spec, known_images=[known | changes]))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="JSON"):
        ModelSpec.from_json(text)


def test_a_whole_number_may_stand_for_the_floor(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(changed(spec, score_floor=0)).score_floor == 0


def test_the_generated_image_is_the_same_for_ever() -> None:
    """A changed picture would fail the readiness of every model that was ever exported."""
    digests = [
        hashlib.sha256(generate_image(seed, shape_hw).tobytes()).hexdigest()[:16]
        for seed, shape_hw in ((0, (640, 640)), (7, (384, 640)), (2**40, (50, 35)))
    ]
    assert digests == ["d43f1575a1a7217d", "81fdc09eee529fee", "34897cbf6ff32250"]


def test_the_generated_image_is_rich_and_follows_its_seed() -> None:
    image = generate_image(3, (96, 130))
    assert image.shape == (96, 130, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 200
    assert image.std() > 40
    assert not np.array_equal(image, generate_image(4, (96, 130)))
