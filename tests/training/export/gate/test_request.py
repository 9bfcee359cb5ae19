"""What the gate refuses before it measures anything."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.config import ConfigError
from training.data import CocoDataset, DatasetError
from training.export.gate import Request
from training.export.gate.staged import Staged, read_staged


@pytest.fixture
def version(staged: Path) -> Staged:
    return read_staged(staged)


def request_of(version: Staged, dataset: CocoDataset, **given: object) -> Request:
    return Request(version.folder, version.folder, dataset, "val.json", **given)  # type: ignore[arg-type]


def test_classes_in_another_order_are_refused_others_by_name_are_not(version: Staged, seen_set: CocoDataset) -> None:
    turned = replace(seen_set, class_names=("Ambulance", "Motorcycle", "Bus | Coach"))
    with pytest.raises(DatasetError, match=r"class 1 is 'Bus \| Coach' to the model and 'Motorcycle' to the data"):
        request_of(version, turned).check(version)
    with pytest.raises(DatasetError, match="the model has 3 classes, the data 2"):
        request_of(version, replace(seen_set, class_names=("a", "b"))).check(version)
    request_of(version, replace(seen_set, class_names=("ambulance", "bus", "bike"))).check(version)


def test_a_set_without_objects_is_refused_as_nothing_would_show(version: Staged, seen_set: CocoDataset) -> None:
    crowds = tuple(replace(image, crowd=np.ones_like(image.crowd)) for image in seen_set.images)
    with pytest.raises(DatasetError, match="the set has no object"):
        request_of(version, replace(seen_set, images=crowds)).check(version)


def test_with_a_checkpoint_model_onnx_must_be_tried(version: Staged, seen_set: CocoDataset) -> None:
    with pytest.raises(ConfigError, match="f32 or bf16 must be tried too"):
        request_of(version, seen_set, engines=("int8",), checkpoint=Path("best.pt")).check(version)
    request_of(version, seen_set, engines=("int8",)).check(version)
    request_of(version, seen_set, engines=("int8", "bf16"), checkpoint=Path("best.pt")).check(version)


def test_a_repository_that_is_no_folder_is_refused(version: Staged, seen_set: CocoDataset) -> None:
    with pytest.raises(ConfigError, match=r"model\.onnx is no folder to publish into"):
        replace(request_of(version, seen_set), repository=version.onnx).check(version)
