"""Which layers an engine's noise comes from: signal against noise of each convolution, in decibels.

The noise is the difference from the parent's answer. ``own`` is what a layer adds itself, its inputs being the
parent's; ``reached`` is what has gathered up to it. Six decibels more are half the error.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from training.export.gate.probe import Layers, Look, Probe
from training.export.session import ExportError

MOST_DB = 120.0  # float32 is no finer
WORST = 5
# FP16 keeps 65 or more, bf16 46 to 54, INT8 32 to 50: a layer that keeps more than this loses nothing worth a name.
_QUIET_DB = 42.0
_STANDS_OUT_DB = 6.0
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution by the name of its weights, which is what a recipe's ``wide`` takes; signal to noise in dB."""

    name: str
    own: float
    reached: float


def compare_layers(parent: Look, engine: Probe, images: Iterable[NDArray[np.uint8]]) -> tuple[Layer, ...]:
    """Run both on ``images``, uint8 (1, H, W, 3) each; return all layers, the noisiest by itself first.

    Raises ExportError.
    """
    signal: dict[str, float] = defaultdict(float)
    noise: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for image in images:
        expected = parent(image)
        # One after the other: the outputs of all layers of a large network are gigabytes.
        own = _differences(expected, engine.each(image, expected))
        reached = _differences(expected, engine.whole(image))
        for name in own:
            noise[name][0] += own[name]
            noise[name][1] += reached[name]
            signal[name] += float(np.square(expected[name], dtype=np.float64).sum())
    if not noise:
        raise ExportError("it has no layer that its parent has")
    layers = [Layer(name, *(_decibels(signal[name], power) for power in powers)) for name, powers in noise.items()]
    return tuple(sorted(layers, key=lambda layer: layer.own))


def standing_out(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return those to name: the noisiest, and up to two more that are about as noisy; none where all are quiet."""
    return tuple(
        layer for layer in layers[:_NAMED] if layer.own < _QUIET_DB and layer.own <= layers[0].own + _STANDS_OUT_DB
    )


def describe(layers: Sequence[Layer]) -> str:
    """Say in a few words which layers break an engine."""
    named = standing_out(layers)
    if not named:
        return f"no layer stands out (each keeps {layers[0].own:.0f} dB of signal to noise or more)"
    told = ", ".join(f"{layer.name} {layer.own:.1f} dB" for layer in named)
    middle = median(layer.own for layer in layers)
    return f"noisiest {'layer' if len(named) == 1 else 'layers'} {told} (signal to noise; median {middle:.1f} dB)"


def _differences(expected: Layers, found: Layers) -> dict[str, float]:
    """The power of the noise, by layer; infinite where numbers are not finite."""
    powers = {}
    for name, answer in found.items():
        with np.errstate(invalid="ignore", over="ignore"):
            power = float(np.square(answer.astype(np.float64) - expected[name]).sum())
        powers[name] = power if np.isfinite(power) else float("inf")
    return powers


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return MOST_DB
    ratio = signal / noise
    return float(np.clip(10 * np.log10(ratio), -MOST_DB, MOST_DB)) if ratio > 0 else -MOST_DB
