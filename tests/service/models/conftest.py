"""A second version of the block finder, whose answers tell it from the first."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.vision.spec import ModelSpec


@pytest.fixture(scope="session")
def write_dimmed(write_blocks: Callable[..., ModelSpec]) -> Callable[..., ModelSpec]:
    """Writes a version that gives half the score to everything: (root, name, version) -> its spec."""

    def write(root: Path, name: str = "blocks", version: str = "2") -> ModelSpec:
        spec = write_blocks(root, name, version)
        path = root / name / version / "model.onnx"
        model = onnx.load(str(path))
        (divisor,) = (constant for constant in model.graph.initializer if constant.name == "c255")
        divisor.CopyFrom(onnx.numpy_helper.from_array(np.array(510, np.float32), "c255"))
        onnx.save(model, str(path))
        known = tuple(
            replace(known, candidates=replace(known.candidates, scores=known.candidates.scores / 2))
            for known in spec.known_images
        )
        spec = replace(spec, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), known_images=known)
        for folder in (path.parent, root / name):
            (folder / "spec.json").write_text(spec.to_json())
        return spec

    return write


@pytest.fixture
def two_versions(
    tmp_path: Path, write_blocks: Callable[..., ModelSpec], write_dimmed: Callable[..., ModelSpec]
) -> Path:
    """A repository with blocks 1, which is current, and blocks 2, which is not."""
    write_dimmed(tmp_path)
    write_blocks(tmp_path)
    return tmp_path
