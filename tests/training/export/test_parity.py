"""The checks before publishing: each can fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from service.vision.detections import Candidates
from training.export.onnx import rounded
from training.export.parity import Difference, check_parity, compare, pictures, torch_run
from training.export.session import Answers, ExportError
from training.nets import DeployModel

SHAPE = (64, 96)


def candidates(scores: list[float], predictions: list[int], boxes: float = 0.0) -> Candidates:
    count = len(scores)
    return Candidates(
        np.full((count, 4), boxes, np.float32),
        np.array(scores, np.float32),
        np.zeros(count, np.int32),
        np.array(predictions, np.int32),
    )


def test_the_same_model_passes(published) -> None:
    run = torch_run(published.model)
    found = check_parity(run, stored=run, trained=run, batch=pictures(SHAPE))
    assert found.engine == Difference()
    assert found.batch.score < 1e-5


def test_real_pictures_are_letterboxed_into_the_batch() -> None:
    batch = pictures(SHAPE, [np.full((30, 30, 3), 200, np.uint8)])
    assert batch.shape == (5, 64, 96, 3)
    assert batch.dtype == np.uint8
    assert (batch[4, 32, 48] == 200).all()
    assert (batch[4, 0, 0] == 114).all()


def test_another_model_is_refused(published) -> None:
    other = rounded(published.model)
    with torch.no_grad():
        next(p for p in other.parameters() if p.dim() == 4).mul_(1.2)
    with pytest.raises(ExportError, match="ONNX Runtime and torch disagree at 64x96"):
        check_parity(
            torch_run(published.model), stored=torch_run(other), trained=torch_run(other), batch=pictures(SHAPE)
        )


def test_what_storing_costs_is_told_and_not_refused(published) -> None:
    other = rounded(published.model)
    with torch.no_grad():
        next(p for p in other.parameters() if p.dim() == 4).mul_(1.05)
    run = torch_run(published.model)
    found = check_parity(run, stored=run, trained=torch_run(other), batch=pictures(SHAPE))
    assert found.storage.score > 0


def mixing(model: DeployModel) -> Answers:
    """A run that answers every image of a batch with the first one's answer."""
    plain = torch_run(model)

    def run(images):
        answers = plain(images)
        first = [np.repeat(part[:1], len(images), 0) for part in (answers.boxes, answers.scores)]
        return replace(answers, boxes=first[0], scores=first[1])

    return run


def test_an_engine_that_mixes_images_of_a_batch_is_refused(published) -> None:
    run = torch_run(published.model)
    with pytest.raises(ExportError, match="batched and single images disagree"):
        check_parity(mixing(published.model), stored=run, trained=run, batch=pictures(SHAPE))


def test_numbers_that_are_not_finite_are_refused(published) -> None:
    def run(images):
        answers = torch_run(published.model)(images)
        return replace(answers, scores=answers.scores * np.float32(np.nan))

    with pytest.raises(ExportError, match="not finite"):
        check_parity(run, stored=run, trained=run, batch=pictures(SHAPE))


def test_candidates_are_matched_by_prediction() -> None:
    assert compare(candidates([0.9, 0.9, 0.5], [1, 2, 3]), candidates([0.9, 0.9, 0.5], [2, 1, 3])) == Difference()
    assert compare(candidates([0.9], [1]), candidates([0.8], [1], boxes=2)).score == pytest.approx(0.1)
    assert compare(candidates([0.9], [1]), candidates([0.9], [1], boxes=2)).box_px == 2


def test_a_tie_at_the_last_place_is_no_difference_but_a_lost_candidate_is() -> None:
    assert compare(candidates([0.9, 0.5], [1, 2]), candidates([0.9, 0.5], [1, 3])).unmatched == 0
    assert compare(candidates([0.9, 0.5], [1, 2]), candidates([0.5, 0.4], [2, 3])).unmatched == 1
    assert compare(candidates([1e-4, 1e-5], [1, 2]), candidates([1e-4, 1e-5], [3, 4])).unmatched == 2


def test_scores_below_the_floor_do_not_count() -> None:
    ones, others = candidates([0.9, 0.02], [1, 2]), candidates([0.9, 0.01], [1, 2])
    assert compare(ones, others, floor=0.05) == Difference()
    assert compare(ones, others).score > 0
