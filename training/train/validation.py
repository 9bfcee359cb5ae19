"""The AP of a run between two epochs: the averaged weights, in the form that will serve."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from training.data import CocoDataset
from training.evaluate import Evaluation, Infer, detect, max_candidates, score, torch_infer
from training.nets import DeployModel
from training.train.guard import Interrupted
from training.train.run import Run
from training.train.stop import StopRequest


def evaluate_ema(run: Run, val_set: CocoDataset, stop: StopRequest) -> Evaluation:
    """Score the EMA weights in float32, letterboxed to the square of the training size.

    Each process detects in its share of the images, the first one scores. Alone, a signal ends it: raises Interrupted.
    """
    processes, shapes_hw = run.processes, ((run.config.image_size, run.config.image_size),)
    processes.copy_from_main(run.ema.state.values())
    model = DeployModel(run.ema.network, max_candidates(run.ema.network, shapes_hw)).eval()
    infer = torch_infer(model, run.device)
    if processes.alone:
        infer = _until(stop, infer)
    share = replace(val_set, images=val_set.images[processes.rank :: processes.world_size])
    shares = processes.gather(list(detect(infer, share, shapes_hw=shapes_hw)))
    evaluation = score(val_set, (found for part in shares for found in part)) if processes.is_main else None
    shared = processes.from_main(evaluation)
    assert shared is not None
    return shared


def _until(stop: StopRequest, infer: Infer) -> Infer:
    """Detect until a signal comes; the evaluation is done anew when the run goes on."""

    def detecting(images: NDArray[np.uint8]) -> Sequence[Candidates]:
        if stop.number:
            raise Interrupted(stop.number)
        return infer(images)

    return detecting
