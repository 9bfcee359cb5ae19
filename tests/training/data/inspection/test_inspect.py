import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.inspection import KINDS, Inspection, Severity

GOOD = [10.0, 10.0, 20.0, 20.0]
MANY = [(0, 1, [2.0 * n, 10.0, 10.0, 10.0]) for n in range(20)] + [
    (0, 2, [2.0 * n, 30.0, 10.0, 10.0]) for n in range(20)
]


def kinds(inspection: Inspection) -> dict[str, int]:
    return {kind: counts.total() for kind, counts in inspection.counts().items()}


def test_a_good_set_has_no_findings(write_part, found):
    write_part("train", [1], MANY)
    inspection = found(write_part("val", [2], [(0, 1, GOOD), (0, 2, [40, 30, 20, 20])]))
    assert inspection.findings == ()
    assert inspection.errors == 0


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([10, 10, 0, 5], "box without area"),
        ([10, 10, -4, 5], "box reversed"),
        ([10, math.nan, 4, 5], "box not finite"),
        ([80, 10, 4, 5], "box outside"),
        ([-20, 10, 20, 5], "box outside"),
        ([70, 10, 12, 5], "box over the edge"),
        ([10, 10, 2, 30], "box lost at this size"),
        ([10, 10, 60, 2.5], "box of 20:1 or longer"),
        ([10, 10, "wide", 5], "not understood"),
        ([10, 10, 5], "not understood"),
    ],
)
def test_a_bad_box_is_found(write_part, found, box, kind):
    inspection = found(write_part("part", [1], [(0, 1, GOOD), (0, 2, [40, 30, 20, 20]), (0, 1, box)]))
    assert kinds(inspection) == {kind: 1}
    assert inspection.errors == (KINDS[kind].severity is Severity.ERROR)
    kept = 3 if KINDS[kind].severity is not Severity.ERROR else 2
    assert len(inspection.objects["part"].kind) == kept


def test_a_box_may_reach_a_pixel_over_the_edge(write_part, found):
    inspection = found(write_part("part", [1], [(0, 1, [60.5, 10, 20.4, 20]), (0, 2, GOOD)]))
    assert inspection.findings == ()
    assert inspection.objects["part"].boxes_xyxy[0].tolist() == [60.5, 10, 80, 30]


def test_sizes_are_those_at_the_training_size(write_part, found):
    folder = write_part("part", [1], [(0, 1, [10, 10, 4, 4]), (0, 2, GOOD)])
    assert kinds(found(folder, 80)) == {}
    assert kinds(found(folder, 32)) == {"box lost at this size": 1}
    assert found(folder, 160).balance["part"].sides_px[-1] == pytest.approx(38.4)


def test_boxes_that_are_one_are_found_once_each(write_part, found):
    near = [10.1, 10.0, 20.0, 20.0]
    rows = [(0, 1, GOOD), (0, 1, near), (0, 2, GOOD), (0, 1, [10, 10, 20, 12]), (1, 1, GOOD)]
    inspection = found(write_part("part", [1, 2], rows))
    assert kinds(inspection) == {"box twice": 1, "two classes on one box": 1}


def test_crowds_are_no_second_box(write_part, found):
    folder = write_part("part", [1], [(0, 1, GOOD), (0, 1, GOOD), (0, 2, [40, 30, 20, 20])])
    table = json.loads((folder / "part.json").read_text())
    table["annotations"][1]["iscrowd"] = 1
    (folder / "part.json").write_text(json.dumps(table))
    inspection = found(folder)
    assert inspection.findings == ()
    assert (inspection.balance["part"].crowds, inspection.balance["part"].objects["cat"]) == (1, 1)


def test_images_that_are_missing_broken_or_of_another_size(write_part, found):
    folder = write_part("part", [1, 2, 3, 4], [(n, 1 + n % 2, GOOD) for n in range(4)])
    (folder / "images" / "part1.png").unlink()
    whole = (folder / "images" / "part2.png").read_bytes()
    (folder / "images" / "part2.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(folder / "images" / "part3.png"), np.zeros((80, 60, 3), np.uint8))
    inspection = found(folder)
    assert kinds(inspection) == {"missing image": 1, "unreadable image": 1, "wrong size": 1}
    places = {finding.kind: finding.image.name for finding in inspection.findings if finding.image}
    assert places == {"unreadable image": "part2.png", "wrong size": "part3.png"}


def test_ids_are_looked_after(write_part, found):
    images = [{"id": 0, "file_name": "part0.png", "width": 80, "height": 60}] * 2
    rows = [(0, 1, GOOD), (0, 4, [40, 30, 20, 20]), (5, 1, GOOD), (0, 7, GOOD)]
    categories = [{"id": 4, "name": "dog"}, {"id": 1, "name": "cat"}]
    inspection = found(write_part("part", [1], rows, images=images, categories=categories))
    assert kinds(inspection) == {"id used twice": 1, "unlisted image or class": 2, "gap in category ids": 1}


def test_what_would_not_open_is_found(write_part, found):
    rows = [(0, 1, GOOD), (0, 2, [40, 30, 20, 20]), (0, 1.5, GOOD)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]
    folder = write_part("part", [1], rows, categories=categories)
    table = json.loads((folder / "part.json").read_text())
    table["annotations"][1]["segmentation"] = [[1, 2, 3]]
    (folder / "part.json").write_text(json.dumps(table))
    assert kinds(found(folder)) == {"not understood": 2, "class name used twice": 1, "class without objects": 1}


def test_what_parts_lack(write_part, found):
    write_part("train", [1, 2], [*MANY[:20]], categories=[{"id": 1, "name": "cat"}])
    inspection = found(write_part("val", [3], [(0, 2, GOOD)]))
    expected = {"classes differ": 1, "class not trained": 1, "class without objects": 1, "image without objects": 1}
    assert kinds(inspection) == expected


def test_few_objects_of_a_class_are_said_of_train_only(write_part, found):
    rows = [(0, 1, GOOD), (0, 2, [40, 30, 20, 20])]
    write_part("train", [1], rows)
    inspection = found(write_part("val", [2], rows))
    assert [(finding.part, finding.text) for finding in inspection.findings] == [
        ("train", "cat: 1 objects in 1 images"),
        ("train", "dog: 1 objects in 1 images"),
    ]


def test_a_table_of_something_else_is_no_crash(tmp_path, found):
    (tmp_path / "odd.json").write_text('{"images": [3, {"id": 1}], "categories": {}, "annotations": [{"id": "x"}]}')
    inspection = found(tmp_path)
    assert set(kinds(inspection)) == {"not understood"}
    assert len(inspection.findings) == 4


def test_label_rows_that_are_not_understood_are_listed(tmp_path, found):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((60, 80, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n3 0.5 0.5 0.1 0.1\n0 1.5 0.5 0.1 0.1\n")
    (tmp_path / "classes.txt").write_text("cat")
    assert kinds(found(tmp_path)) == {"not understood": 1, "box outside": 1, "few objects of a class": 1}


def test_json_says_all(write_part, found):
    inspection = found(write_part("part", [1], [(0, 1, [80, 10, 4, 5]), (0, 2, GOOD)]))
    table = json.loads(json.dumps(inspection.to_dict()))
    assert table["errors"] == 1
    assert table["parts"]["part"]["objects"] == {"cat": 0, "dog": 1}
    first = table["findings"][0]
    assert (first["kind"], first["severity"], first["box_xyxy"]) == ("box outside", "error", [80, 10, 84, 15])
    assert "NaN" not in json.dumps(found(write_part("part", [1], [(0, 1, [math.nan, 10, 4, 5])])).to_dict())
    assert Path(first["image"]).name == "part0.png"


@pytest.mark.parametrize("name", ["vehicles", "hit-uav"])
@pytest.mark.long
def test_the_real_sets_have_no_errors(shared_data, found, name):
    inspection = found(shared_data / name, 640)
    assert inspection.errors == 0
    assert "near leak" not in kinds(inspection)
