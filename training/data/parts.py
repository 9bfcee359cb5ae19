"""The parts of a data set (train, val, test), wherever they are written down and in whichever format.

Taken are a COCO file, a folder of COCO files with ``images/`` beside them, a ``data.yaml``, and a folder with
``images/`` and ``labels/`` (in it ``data.yaml``, or ``classes.txt`` with a name on each line). What is read here is
unchecked: the check lists all that is wrong with it, ``open_part`` refuses it at the first fault.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.coco import CocoDataset, DatasetError, read_table
from training.data.listing import Listing
from training.data.yolo import SUFFIXES, yolo_table

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """One part as read: a COCO table, the folder of its images, and one line for each thing that was not understood."""

    origin: str
    table: dict[str, Any]
    images: Path
    faults: tuple[str, ...] = ()

    def dataset(self) -> CocoDataset:
        """Return the part as training takes it. Raises DatasetError."""
        if self.faults:
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            raise DatasetError(self.faults[0] + more)
        return CocoDataset.from_table(self.table, self.images, self.origin)


def open_part(data: Path, part: str = "train") -> CocoDataset:
    """Open one part of a set, or the COCO file that ``data`` is. Raises DatasetError."""
    parts = read_parts(data, wanted=part)
    if data.suffix == ".json":
        return next(iter(parts.values())).dataset()
    if part not in parts:
        raise DatasetError(f"{data} has no part {part!r}")
    return parts[part].dataset()


def read_parts(data: Path, wanted: str | None = None) -> dict[str, Part]:
    """Read every part of a set, or the one wanted if it is there, by name.

    Raises DatasetError where there is no set or a file as a whole is unusable.
    """
    if data.suffix == ".json":
        return {data.stem: _coco(data)}
    if data.suffix in (".yaml", ".yml"):
        return _listed(data, wanted)
    if not data.is_dir():
        raise DatasetError(f"{data} is neither a COCO file nor a data.yaml nor a folder")
    named = [file for part in PARTS if (file := data / f"{part}.json").is_file()]
    if files := named or sorted(data.glob("*.json")):
        return {file.stem: _coco(file) for file in files if wanted in (None, file.stem)}
    if files := sorted((*data.glob("data.y*ml"), *data.glob("*.yaml"))):
        return _listed(files[0], wanted)
    return _folders(data, wanted)


def _coco(path: Path) -> Part:
    return Part(str(path), read_table(path), path.parent / "images")


def _listed(path: Path, wanted: str | None) -> dict[str, Part]:
    listing = Listing.read(path)
    parts = {}
    for name, places in listing.parts.items():
        if wanted in (None, name):
            images = [image for place in places for image in _images(place)]
            parts[name] = _yolo(f"{path} ({name})", images, listing.class_names)
    if not listing.parts:
        raise DatasetError(f"{path} names no part: none of {', '.join(PARTS)}")
    return parts


def _folders(data: Path, wanted: str | None) -> dict[str, Part]:
    """Read ``images/`` and ``labels/``, each with a folder for each part or all of it one part."""
    if not (data / "images").is_dir() or not (data / "classes.txt").is_file():
        expected = "COCO files (train.json, ...), a data.yaml, or images/, labels/ and classes.txt"
        raise DatasetError(f"{data} holds none of: {expected}")
    names = tuple(_lines(data / "classes.txt"))
    places = {part: data / "images" / part for part in PARTS if (data / "images" / part).is_dir()}
    places = places or {"train": data / "images"}
    return {part: _yolo(str(place), _images(place), names) for part, place in places.items() if wanted in (None, part)}


def _yolo(origin: str, images: list[Path], class_names: tuple[str, ...]) -> Part:
    table, faults = yolo_table(images, class_names)
    return Part(origin, table, Path(), tuple(faults))


def _images(place: Path) -> list[Path]:
    """Images below a folder, or those that a text file lists, one path on each line."""
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [place.parent / line for line in _lines(place)]


def _lines(path: Path) -> list[str]:
    """The lines of a text file that hold something; Windows begins such files with a mark."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path} is neither a folder of images nor a text file") from exc
    return [line.strip() for line in lines if line.strip()]
