"""What a training run is made of, as frozen values read from TOML.

A default lives here and nowhere else; a recipe in ``configs/*.toml`` states only what differs from the paper's P5
recipe. Unknown keys and wrong types fail with one clear line. The resolved configuration is saved in the run folder and
in every checkpoint. This module knows nothing of torch.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints


class ConfigError(ValueError):
    """A recipe names an unknown key, or gives a value of the wrong type or out of range."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What happens to a training image, in the order of application (probabilities 0–1, gains as fractions)."""

    mosaic: float = 1.0
    mosaic9_share: float = 0.2  # of the mosaics, how many join nine tiles instead of four
    mixup: float = 0.15
    stretch: tuple[float, float] = (1.0, 1.0)  # range of the horizontal stretch of a source image
    degrees: float = 0.0
    translate: float = 0.2
    scale: float = 0.9
    shear: float = 0.0
    perspective: float = 0.0
    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4
    paste_in: float = 0.15  # needs outlines; a set with boxes only has nothing to cut out
    flip_vertical: float = 0.0
    flip_horizontal: float = 0.5

    def __post_init__(self) -> None:
        """Refuse ranges that would turn an image inside out. Raises ConfigError."""
        low, high = self.stretch
        if not 0 < low <= high:
            raise ConfigError(f"augmentation.stretch must rise from above 0, not {low} to {high}")
        if not 0 <= self.scale < 1:
            raise ConfigError(f"augmentation.scale must be at least 0 and below 1, not {self.scale}")


@dataclass(frozen=True, slots=True)
class Loss:
    """Gains before the scaling by levels, classes and image size (``losses.py`` scales them)."""

    assigner: Literal["ota", "plain"] = "ota"
    box: float = 0.05
    objectness: float = 0.7
    classification: float = 0.3
    anchor_threshold: float = 4.0
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    auxiliary: float = 0.25  # weight of the auxiliary head's terms, where the network has one
    # What auxiliary heads learn (table 6): coarse candidates that the lead chooses from, the lead's own fine ones, or
    # what the auxiliary predictions choose themselves.
    auxiliary_assigner: Literal["coarse-to-fine", "lead-guided", "independent"] = "coarse-to-fine"
    auxiliary_bounded: bool = True  # its decoder reaches half a cell, less far than coarse candidates (table 7)

    def __post_init__(self) -> None:
        """Refuse what no box could be learnt by. Raises ConfigError."""
        if not self.anchor_threshold > 1:
            raise ConfigError(f"loss.anchor_threshold must be above 1, not {self.anchor_threshold}")


@dataclass(frozen=True, slots=True)
class Optimizer:
    """The optimiser, its warm-up and its cosine.

    The paper's is SGD with Nesterov momentum, whose rates these are. AdamW wants its own: a learning rate of about
    0.001 and a weight decay of about 0.05. Its first beta is ``momentum``; it has no rise of momentum, and its biases
    warm up from 0 as all else does, because its steps have the length of the learning rate, however small a gradient.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    final_factor: float = 0.1  # learning rate at the last epoch, as a fraction of the first
    momentum: float = 0.937
    weight_decay: float = 0.0005
    nominal_batch: int = 64
    warmup_epochs: float = 3.0
    warmup_min_iterations: int = 1000
    warmup_momentum: float = 0.8
    warmup_bias_learning_rate: float = 0.1
    # Longest gradient that a step may take, over all parameters together, of the loss summed over its images; 0: any.
    clip_norm: float = 0.0
    ema_decay: float = 0.9999
    ema_tau: float = 2000.0

    def __post_init__(self) -> None:
        """Refuse what no optimiser takes, and what nothing could be divided by. Raises ConfigError."""
        if self.nominal_batch < 1:
            raise ConfigError(f"optimizer.nominal_batch must be at least 1, not {self.nominal_batch}")
        if not 0 < self.momentum < 1:
            raise ConfigError(f"optimizer.momentum must be above 0 and below 1, not {self.momentum}")
        for name in ("learning_rate", "ema_tau"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"optimizer.{name} must be above 0, not {getattr(self, name)}")
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"optimizer.{name} must not be negative, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Config:
    """One training run."""

    variant: str = "v7"
    image_size: int = 640
    epochs: int = 300
    batch_size: int = 32  # of all processes together
    seed: int = 2
    workers: int = 1  # processes that decode and augment, for each that trains
    cache_gib: float = 2.0  # of decoded training images kept in memory
    disk_cache: str = ""  # folder for decoded training images that memory does not hold; none if empty
    disk_cache_gib: float = 50.0
    multi_scale: bool = False  # every batch at another size, from half to one and a half times image_size
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: the GPU where there is one
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"  # fp16 scales the loss so that small gradients survive
    compile: bool = False  # torch.compile: minutes at the start, for faster steps on a GPU
    evaluate_every: int = 1
    patience: int = 0  # epochs without a better one after which training ends; 0: never
    checkpoint_every: int = 0  # epochs between checkpoints that stay beside last and best; 0: none
    keep_checkpoints: int = 3  # how many of those stay, the newest
    freeze: int = 0  # entries of the reference's graph that do not learn, from the first: 50 is v7's backbone
    freeze_names: tuple[str, ...] = ()  # parameters that do not learn, as patterns: "rows.stem*", "*.bn.weight"
    anchors: tuple[tuple[float, ...], ...] = ()  # a level each: w, h, w, h, w, h pixels; empty: the variant's
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def __post_init__(self) -> None:
        """Refuse what no run could use. Raises ConfigError."""
        for name in ("image_size", "epochs", "batch_size", "evaluate_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("seed", "workers", "patience", "checkpoint_every", "freeze"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.image_size % 32:
            raise ConfigError(f"image_size must be a multiple of 32, not {self.image_size}")
        if not all(side > 0 for level in self.anchors for side in level):
            raise ConfigError("anchors must have sides above 0")


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How a model becomes INT8 (``export.precision``). Patterns name convolutions: "head.*", "rows.stem1.*"."""

    images: int = 300  # of the training part, from which the ranges of activations are learnt
    seed: int = 0  # chooses them
    # mixed: activations that are not symmetric get a zero point of their own. TensorRT takes symmetric ones only.
    activations: Literal["mixed", "symmetric"] = "mixed"
    # How OpenVINO's ranges are found: NNCF's own mean-min-max cuts the largest values off, and with them the scores of
    # sure objects. No entropy: it is known to lose 5 points of YOLOv7.
    ranges: Literal["min-max", "mean-min-max", "quantile", "histogram"] = "min-max"
    percentile: float = 99.999  # of the values of a tensor, which its range holds, in the ONNX with Q/DQ
    wide: tuple[str, ...] = ()  # what is not quantised, besides the decoding of boxes, which never is

    def __post_init__(self) -> None:
        """Refuse what nothing could be learnt from. Raises ConfigError."""
        if self.images < 1:
            raise ConfigError(f"images must be at least 1, not {self.images}")
        if not 50 < self.percentile <= 100:
            raise ConfigError(f"percentile must lie above 50 and be at most 100, not {self.percentile}")


def load_quantisation(path: Path) -> Quantisation:
    """Read a recipe of ``configs/quantise``. Raises ConfigError."""
    recipe = _build(Quantisation, _read(path), "")
    assert isinstance(recipe, Quantisation)
    return recipe


def load_config(path: Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a recipe; ``overrides`` (dotted keys, e.g. ``optimizer.momentum``) win over the file. Raises ConfigError."""
    table = _read(path)
    for dotted, value in (overrides or {}).items():
        *sections, key = dotted.split(".")
        target = table
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise ConfigError(f"unknown key {dotted!r}: {section} is no table")
        target[key] = value
    return config_from_dict(table)


def config_from_dict(table: dict[str, Any]) -> Config:
    """Build a Config from nested plain values (a recipe or a checkpoint). Raises ConfigError."""
    config = _build(Config, table, "")
    assert isinstance(config, Config)
    return config


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the resolved configuration as nested plain values; ``config_from_dict`` reads it back."""
    return dataclasses.asdict(config)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def _build(cls: type[Any], table: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(cls)
    if unknown := sorted(set(table) - set(hints)):
        raise ConfigError(f"unknown key {prefix + unknown[0]!r}; known: {', '.join(sorted(hints))}")
    return cls(**{key: _value(hints[key], value, prefix + key) for key, value in table.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{name} must be a table")
        return _build(hint, value, f"{name}.")  # type: ignore[arg-type]  # a dataclass type, which is_dataclass cannot tell from an instance
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{name} must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return _items(arguments[0], value, name)
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            raise ConfigError(f"{name} must be {len(arguments)} numbers")
        return tuple(_value(part, item, name) for part, item in zip(arguments, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{name} must be {hint.__name__}, not {value!r}")
    return value


def _items(hint: Any, value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name} must be a list, not {value!r}")
    return tuple(_value(hint, item, f"{name}[{index}]") for index, item in enumerate(value))
