"""Whether an engine lost too little to be published, in words. Plain numbers in, sentences out."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.config import ConfigError
from training.evaluate import Evaluation
from training.export.gate.trial import Trial


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may be lost against the parent, in points of AP, and the least shares of boxes.

    drop: of the AP. class_drop: of any class, whose AP is of fewer objects. alike: boxes that the parent has too.
    together: boxes that a picture has in a batch and alone. shape: boxes that an input shape has in ONNX Runtime too;
    a shape that is broken has hardly any.
    """

    drop: float = 0.5
    class_drop: float = 3.0
    alike: float = 0.8
    together: float = 0.98
    shape: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what nothing or everything would pass. Raises ConfigError."""
        for what, points in (("drop", self.drop), ("class_drop", self.class_drop)):
            if not 0 <= points <= 100:  # NaN neither
                raise ConfigError(f"{what}: {points} points are not within 0 and 100")
        for what, share in (("alike", self.alike), ("together", self.together), ("shape", self.shape)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{what}: a share lies within 0 and 1, not {share}")


def judge(trial: Trial, parent: Evaluation, bounds: Bounds) -> list[str]:
    """Return what speaks against an engine, a sentence each; none is a pass."""
    against = []
    if (lost := points_lost(parent.ap, trial.evaluation.ap)) > bounds.drop:
        against.append(f"AP fell by {lost:.2f} points, {bounds.drop:g} are allowed")
    fallen = {name: lost for name, lost in class_losses(parent, trial.evaluation).items() if lost > bounds.class_drop}
    for name, lost in sorted(fallen.items(), key=lambda item: -item[1]):
        against.append(f"class {name} fell by {lost:.2f} points, {bounds.class_drop:g} are allowed")
    shares = [
        ("boxes agree with the parent's", trial.alike.share, bounds.alike),
        ("boxes are the same in a batch and alone", trial.together, bounds.together),
        *((f"boxes agree at {height}x{width}", share, bounds.shape) for (height, width), share in trial.shapes.items()),
    ]
    # NaN, of no box at all, is below nothing.
    against += [f"only {share:.1%} of {what}, {least:.0%} must" for what, share, least in shares if share < least]
    name, lost = worst_class(parent, trial.evaluation)
    if against and not fallen and lost > 0:
        against.append(f"class {name} lost most, {lost:.2f} points")
    return against


def class_losses(parent: Evaluation, evaluation: Evaluation) -> dict[str, float]:
    """Return how many points of AP each class lost; NaN for one without objects."""
    return {name: points_lost(before.ap, evaluation.per_class[name].ap) for name, before in parent.per_class.items()}


def worst_class(parent: Evaluation, evaluation: Evaluation) -> tuple[str, float]:
    """Return the class that lost most, and how many points."""
    losses = {name: lost for name, lost in class_losses(parent, evaluation).items() if lost == lost}
    return max(losses.items(), key=lambda item: item[1], default=("", 0.0))


def points_lost(before: float, after: float) -> float:
    """Return the difference of two fractions in points."""
    return 100 * (before - after)


def sentence(refused: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return one line of what speaks against which engine; none where there was no engine to try."""
    told = "; ".join(f"{engine}: {', '.join(against)}" for engine, against in refused)
    return f"not promoted: {told or 'no engine could be tried'}"
