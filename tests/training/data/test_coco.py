import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from service.vision.detections import Detections
from training.data.coco import CocoDataset, DatasetError
from training.evaluate import score

SIZES = [(40, 30), (20, 20)]
OBJECTS = [[0, 2, 4, 6, 10, 8], [0, 0, 0, 0, 5, 5]]


def edited(path: Path, part: str, row: int, **fields: object) -> Path:
    table = json.loads(path.read_text())
    table[part][row] |= fields
    path.write_text(json.dumps(table))
    return path


def test_boxes_become_corners_and_category_ids_classes(write_coco):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    assert dataset.class_names == ("red", "green", "blue")
    assert dataset.category_ids == (11, 12, 13)
    first = dataset.images[0]
    assert (first.id, first.width, first.height, first.path.name) == (11, 40, 30, "0.png")
    np.testing.assert_array_equal(first.boxes_xyxy, [[4, 6, 14, 14], [0, 0, 5, 5]])
    np.testing.assert_array_equal(first.classes, [2, 0])


def test_categories_are_ordered_by_id_not_by_place(write_coco):
    categories = [{"id": 13, "name": "c"}, {"id": 11, "name": "a"}, {"id": 12, "name": "b"}]
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS, categories=categories))
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.images[0].classes[0] == 2


def test_images_without_objects_stay(write_coco):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    assert len(dataset) == 2
    assert dataset.images[1].boxes_xyxy.shape == (0, 4)


def test_the_folder_of_images_can_be_elsewhere(write_coco):
    path = write_coco(SIZES, OBJECTS)
    elsewhere = path.parent / "photos"
    (path.parent / "images").rename(elsewhere)
    assert CocoDataset.open(path, elsewhere).images[0].path == elsewhere / "0.png"


@pytest.mark.parametrize(
    "bbox",
    [[5, 5, 0, 4], [5, 5, -3, 4], [40, 0, 5, 5], [-9, 0, 9, 5], [0, float("nan"), 5, 5], [0, 0, float("inf"), 5]],
)
def test_unusable_boxes_are_dropped_everywhere_and_counted(write_coco, caplog, bbox):
    path = edited(write_coco(SIZES, OBJECTS), "annotations", 0, bbox=bbox)
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset.open(path)
    assert len(dataset.images[0].boxes_xyxy) == len(dataset.ground_truth["annotations"]) == 1
    assert "dropped 1 of 2 boxes" in caplog.text


def test_a_box_over_the_edge_is_cut_for_training_only(write_coco):
    dataset = CocoDataset.open(edited(write_coco(SIZES, OBJECTS), "annotations", 0, bbox=[-2, 20, 10, 99]))
    np.testing.assert_array_equal(dataset.images[0].boxes_xyxy[0], [0, 20, 8, 30])
    assert dataset.ground_truth["annotations"][0]["bbox"] == [-2, 20, 10, 99]


def test_ground_truth_has_what_evaluation_reads(write_coco):
    truth = CocoDataset.open(edited(write_coco(SIZES, OBJECTS), "annotations", 1, iscrowd=1)).ground_truth
    assert [(item["area"], item["iscrowd"]) for item in truth["annotations"]] == [(80, 0), (25, 1)]
    assert set(truth) == {"info", "images", "categories", "annotations"}


def test_no_object_is_numbered_zero_which_pycocotools_takes_for_no_match(write_coco):
    truth = CocoDataset.open(write_coco(SIZES, OBJECTS)).ground_truth
    assert [item["id"] for item in truth["annotations"]] == [1, 2]


def test_crowds_are_flagged(write_coco):
    dataset = CocoDataset.open(edited(write_coco(SIZES, OBJECTS), "annotations", 1, iscrowd=1))
    np.testing.assert_array_equal(dataset.images[0].crowd, [False, True])


def test_polygons_become_one_outline_and_masks_none(write_coco):
    path = write_coco(SIZES, [*OBJECTS, [0, 1, 1, 1, 9, 9]])
    edited(path, "annotations", 0, segmentation=[[4, 6, 14, 6, 4, 14], [5, 5, 6, 6]])
    edited(path, "annotations", 1, segmentation={"counts": [3], "size": [30, 40]})
    first, *others = CocoDataset.open(path).images[0].outlines
    np.testing.assert_array_equal(first, [[4, 6], [14, 6], [4, 14], [5, 5], [6, 6]])
    assert others == [None, None]


def test_a_box_that_is_not_stated_comes_from_polygons_or_mask(write_coco):
    path = write_coco(SIZES, [*OBJECTS, [0, 1, 1, 1, 9, 9]])
    table = json.loads(path.read_text())
    mask = np.zeros((30, 40), np.uint8, order="F")
    mask[6:14, 4:14] = 1
    packed = coco_mask.encode(mask)
    runs = [4 * 30 + 6, *[8, 22] * 9, 8, 16 + 26 * 30]
    masks = ({"counts": packed["counts"].decode(), "size": [30, 40]}, {"counts": runs, "size": [30, 40]})
    for row, segmentation in zip(table["annotations"], ([[4, 6, 14, 6, 14, 14]], *masks), strict=True):
        row["segmentation"] = segmentation
        del row["bbox"]
    path.write_text(json.dumps(table))
    dataset = CocoDataset.open(path)
    np.testing.assert_array_equal(dataset.images[0].boxes_xyxy, [[4, 6, 14, 14]] * 3)
    assert dataset.ground_truth["annotations"][2]["bbox"] == [4, 6, 10, 8]


def test_an_annotation_without_box_and_outline_is_refused(write_coco):
    path = write_coco(SIZES, OBJECTS)
    path.write_text(path.read_text().replace('"bbox"', '"other"'))
    with pytest.raises(DatasetError, match="is not a COCO detection file"):
        CocoDataset.open(path)


@pytest.mark.parametrize("bad", [{"width": 0}, {"height": -5}])
def test_an_image_without_pixels_is_refused(write_coco, bad):
    with pytest.raises(DatasetError, match="image 11 is said to be"):
        CocoDataset.open(edited(write_coco(SIZES, OBJECTS), "images", 0, **bad))


@pytest.mark.parametrize("part", ["images", "categories", "annotations"])
def test_an_id_used_twice_is_named(write_coco, part):
    path = write_coco(SIZES, OBJECTS)
    table = json.loads(path.read_text())
    table[part].append(copy.deepcopy(table[part][0]))
    path.write_text(json.dumps(table))
    with pytest.raises(DatasetError, match=rf"train.json: \w+ id {table[part][0]['id']} is there twice"):
        CocoDataset.open(path)


@pytest.mark.parametrize("fields", [{"category_id": 99}, {"image_id": 99}])
def test_an_annotation_of_something_unlisted_is_named(write_coco, fields):
    path = edited(write_coco(SIZES, OBJECTS), "annotations", 1, **fields)
    with pytest.raises(DatasetError, match=r"annotation 1 .* 99, which is not listed"):
        CocoDataset.open(path)


def test_a_missing_image_is_named(write_coco):
    path = write_coco(SIZES, OBJECTS)
    (path.parent / "images" / "1.png").unlink()
    with pytest.raises(DatasetError, match=r"image 12 is missing: no file .*1\.png"):
        CocoDataset.open(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "no object at the top"),
        ("{}", "KeyError: 'images'"),
        ('{"images": 3, "categories": [], "annotations": []}', "is not a COCO detection file"),
        ('{"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": []}', "lists no images"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "lists no categories"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, text, reason):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=reason):
        CocoDataset.open(path)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read .*absent\.json: No such file"):
        CocoDataset.open(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("file", "images", "classes"), [("vehicles/train.json", 439, 5), ("coco-cc-by/instances.json", 61, 80)]
)
def test_real_sets_are_read(shared_data, file, images, classes):
    dataset = CocoDataset.open(shared_data / file)
    assert (len(dataset), len(dataset.class_names)) == (images, classes)
    assert max(image.classes.max(initial=0) for image in dataset.images) < classes


@pytest.mark.parametrize("write", [str, float])
def test_ids_written_as_text_or_with_a_point_are_numbers_to_evaluation(write_coco, write):
    table = json.loads(write_coco(SIZES, OBJECTS).read_text())
    for part in ("images", "categories", "annotations"):
        for item in table[part]:
            item |= {key: write(item[key]) for key in ("id", "image_id", "category_id") if key in item}
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS, **table))
    truth, image = dataset.ground_truth, dataset.images[0]
    perfect = Detections(image.boxes_xyxy, np.full(2, 0.9, np.float32), image.classes.astype(np.int32))
    assert type(truth["annotations"][0]["image_id"]) is type(truth["images"][0]["id"]) is int
    assert score(dataset, [(image.id, perfect)]).ap == pytest.approx(1)


def test_an_id_between_two_numbers_is_refused(write_coco):
    with pytest.raises(DatasetError, match=r"the id 11\.5 is no whole number"):
        CocoDataset.open(edited(write_coco(SIZES, OBJECTS), "annotations", 1, image_id=11.5))


def test_fields_that_are_null_are_as_if_not_there(write_coco):
    path = edited(write_coco(SIZES, OBJECTS), "annotations", 0, area=None, iscrowd=None, segmentation=None)
    first = CocoDataset.open(path).ground_truth["annotations"][0]
    assert (first["area"], first["iscrowd"]) == (80, 0)


@pytest.mark.parametrize("polygons", [[], [[]], [[], []]])
def test_polygons_without_points_are_none(write_coco, polygons):
    path = edited(write_coco(SIZES, OBJECTS), "annotations", 0, segmentation=polygons)
    assert CocoDataset.open(path).images[0].outlines == ()


def test_two_classes_of_one_name_are_refused(write_coco):
    categories = [{"id": 11, "name": "cat"}, {"id": 12, "name": "dog"}, {"id": 13, "name": "cat"}]
    with pytest.raises(DatasetError, match="two categories are called 'cat'"):
        CocoDataset.open(write_coco(SIZES, OBJECTS, categories=categories))


def test_evaluation_is_not_given_the_polygons_which_fill_memory(write_coco):
    path = edited(write_coco(SIZES, OBJECTS), "annotations", 0, segmentation=[[4, 6, 14, 6, 4, 14]])
    assert "segmentation" not in CocoDataset.open(path).ground_truth["annotations"][0]
