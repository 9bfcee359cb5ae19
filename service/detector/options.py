"""The options of a detection request, from text to what service.vision takes.

Over HTTP they come as query parameters or form fields, over a stream as fields of its first message, everywhere by the
same names. Defaults are those of PostprocessOptions.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.detector.source import Caching
from service.errors import Finding, InvalidOption
from service.vision.postprocess import PostprocessOptions
from service.vision.spec import ModelSpec

DEFAULTS = PostprocessOptions()
LISTS = ("classes", "class_confidence")
# More than any data set has classes; without a bound, one body of commas would hold up every other request.
MAX_ITEMS = 2000
MAX_FINDINGS = 20


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
    classes: tuple[str, ...] = Field(
        (), max_length=MAX_ITEMS, description="Names or ids of the classes wanted, repeated or comma-separated."
    )
    max_detections: int = Field(DEFAULTS.max_detections, ge=1, le=1000, description="Most detections answered.")
    class_agnostic: bool = Field(DEFAULTS.class_agnostic, description="Boxes of different classes suppress each other.")
    multi_label: bool = Field(DEFAULTS.multi_label, description="One box may be answered with several classes.")
    class_confidence: tuple[str, ...] = Field(
        (),
        max_length=MAX_ITEMS,
        description="A confidence of its own for a class, such as `Car:0.4`, repeated or comma-separated.",
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
    return check_options(given)


def check_options(given: Mapping[str, object], *, strict: bool = False) -> DetectOptions:
    """From values by name; what is not given has its default. Raises InvalidOption as parse_options does.

    `strict`: where the values have types, no text is taken for a number.
    """
    try:
        return DetectOptions.model_validate(given, strict=strict)
    except ValidationError as exc:
        raise InvalidOption(*map(_finding, exc.errors()[:MAX_FINDINGS])) from exc


def resolve_options(options: DetectOptions, spec: ModelSpec) -> PostprocessOptions:
    """The options in terms of the model's class ids.

    Raises InvalidOption for a class that it does not have, and for a confidence below what its graph answers.
    """
    ids = _class_ids(spec) if options.classes or options.class_confidence else {}
    if options.confidence < spec.score_floor:
        raise InvalidOption(Finding("/confidence", f"model {spec.name!r} answers nothing below {spec.score_floor:g}"))
    return PostprocessOptions(
        confidence=options.confidence,
        iou=options.iou,
        max_detections=options.max_detections,
        classes=tuple(_class_id(name, ids, spec, "/classes") for name in options.classes) or None,
        class_agnostic=options.class_agnostic,
        multi_label=options.multi_label,
        class_confidence=tuple(_class_confidence(pair, ids, spec) for pair in options.class_confidence),
    )


@lru_cache(maxsize=64)
def choose_caching(cache_control: str) -> Caching:
    """`no-store` keeps an image out of the cache altogether; `no-cache` has it inferred anew, and kept."""
    directives = {part.strip().lower() for part in cache_control.split(",")}
    if "no-store" in directives:
        return "off"
    return "refresh" if directives & {"no-cache", "max-age=0"} else "use"


def _finding(error: Mapping[str, Any]) -> Finding:
    # RFC 6901: what separates the parts of a pointer is escaped within one.
    pointer = "/" + str(error["loc"][0]).replace("~", "~0").replace("/", "~1")
    if error["type"] == "extra_forbidden":
        return Finding(pointer, f"there is no such option; there are {', '.join(DetectOptions.model_fields)}")
    return Finding(pointer, str(error["msg"]))


def _class_ids(spec: ModelSpec) -> dict[str, int]:
    """Ids by what may be written for them: the id, or the name in any case. Of equal names the first counts."""
    ids = {str(index): index for index in range(len(spec.class_names))}
    return ids | {name.casefold(): index for index, name in reversed(list(enumerate(spec.class_names)))}


def _class_id(text: str, ids: Mapping[str, int], spec: ModelSpec, pointer: str) -> int:
    found = ids.get(text.casefold())
    if found is None:
        known = ", ".join(spec.class_names)
        raise InvalidOption(Finding(pointer, f"model {spec.name!r} has no class {text!r}; it has {known}"))
    return found


def _class_confidence(pair: str, ids: Mapping[str, int], spec: ModelSpec) -> tuple[int, float]:
    pointer = "/class_confidence"
    least = max(0.001, spec.score_floor)
    name, _, text = pair.rpartition(":")
    try:
        confidence = float(text)
    except ValueError:
        confidence = -1.0
    if not least <= confidence <= 1:
        raise InvalidOption(
            Finding(pointer, f"{pair!r} is not a class and a confidence from {least:g} to 1, as in Car:0.4")
        )
    return _class_id(name, ids, spec, pointer), confidence
