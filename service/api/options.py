"""The options of a detection request, from text to what service.vision takes.

They come as query parameters, or as form fields of the same names. Defaults are those of PostprocessOptions.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import Finding, InvalidOption
from service.vision.postprocess import PostprocessOptions
from service.vision.spec import ModelSpec

DEFAULTS = PostprocessOptions()
LISTS = ("classes", "class_confidence")


class DetectOptions(BaseModel):
    """The options as they are given: classes still by name or id."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str | None = Field(None, description="Name of the model; the default model where absent.")
    version: str | None = Field(None, description="Version of the model; the one served where absent.")
    confidence: float = Field(
        DEFAULTS.confidence, ge=0.001, le=1, description="Detections below this score are left out."
    )
    iou: float = Field(
        DEFAULTS.iou, ge=0, le=1, description="Of two boxes that overlap more than this, the better stays."
    )
    classes: tuple[str, ...] = Field((), description="Names or ids of the classes wanted, repeated or comma-separated.")
    max_detections: int = Field(DEFAULTS.max_detections, ge=1, le=1000, description="Most detections answered.")
    class_agnostic: bool = Field(DEFAULTS.class_agnostic, description="Boxes of different classes suppress each other.")
    multi_label: bool = Field(DEFAULTS.multi_label, description="One box may be answered with several classes.")
    class_confidence: tuple[str, ...] = Field(
        (), description="A confidence of its own for a class, such as `Car:0.4`, repeated or comma-separated."
    )


def parse_options(pairs: Iterable[tuple[str, str]]) -> DetectOptions:
    """Raises InvalidOption with a finding for each option that is unknown, repeated or out of range."""
    given: dict[str, str | list[str]] = {}
    for name, text in pairs:
        if name in LISTS:
            items = given.setdefault(name, [])
            assert isinstance(items, list)
            items.extend(item for item in map(str.strip, text.split(",")) if item)
        elif name in given:
            raise InvalidOption(Finding(f"/{name}", "given more than once"))
        else:
            given[name] = text
    try:
        return DetectOptions.model_validate(given)
    except ValidationError as exc:
        raise InvalidOption(*(Finding(f"/{error['loc'][0]}", error["msg"]) for error in exc.errors())) from exc


def resolve_options(options: DetectOptions, spec: ModelSpec) -> PostprocessOptions:
    """The options in terms of the model's class ids. Raises InvalidOption for a class that it does not have."""
    return PostprocessOptions(
        confidence=options.confidence,
        iou=options.iou,
        max_detections=options.max_detections,
        classes=tuple(class_id(name, spec, "/classes") for name in options.classes) or None,
        class_agnostic=options.class_agnostic,
        multi_label=options.multi_label,
        class_confidence=tuple(_class_confidence(pair, spec) for pair in options.class_confidence),
    )


def class_id(text: str, spec: ModelSpec, pointer: str) -> int:
    """The id of a class given by name, in any case, or by id."""
    names = [name.casefold() for name in spec.class_names]
    if text.casefold() in names:
        return names.index(text.casefold())
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    known = ", ".join(spec.class_names)
    raise InvalidOption(Finding(pointer, f"model {spec.name!r} has no class {text!r}; it has {known}"))


def _class_confidence(pair: str, spec: ModelSpec) -> tuple[int, float]:
    pointer = "/class_confidence"
    name, _, text = pair.rpartition(":")
    try:
        confidence = float(text)
    except ValueError:
        confidence = -1.0
    if not 0.001 <= confidence <= 1:
        raise InvalidOption(
            Finding(pointer, f"{pair!r} is not a class and a confidence from 0.001 to 1, as in Car:0.4")
        )
    return class_id(name, spec, pointer), confidence
