"""The tree of errors is the one that its module draws."""

import inspect
import re

import service.errors
from service.errors import Finding, ImageError, InvalidOption, ServiceError

TREE = ("service.errors", "service.vision")


def descendants(kind: type[Exception]) -> set[type[Exception]]:
    """Those of the tree; what a module tells apart within itself is told as its parent."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith(TREE)]
    return {kind} | {below for child in children for below in descendants(child)}


def test_the_drawing_shows_every_error_below_its_parent():
    parents: list[str] = []
    drawn = set()
    for indent, name in re.findall(
        r"^    ([│├└─ ]*)([A-Z]\w+(?:Error|[a-z]))\b", service.errors.__doc__ or "", re.MULTILINE
    ):
        del parents[len(indent) // 4 :]
        if parents:
            assert parents[-1] in {base.__name__ for base in getattr(service.errors, name).__bases__}, name
        parents.append(name)
        drawn.add(name)
    assert drawn == {kind.__name__ for kind in descendants(ServiceError) | descendants(ImageError)}


def test_every_error_of_the_module_is_exported():
    defined = {name for name, value in inspect.getmembers(service.errors, inspect.isclass) if name != "dataclass"}
    assert defined == set(service.errors.__all__)


def test_an_invalid_option_reads_as_one_line():
    error = InvalidOption(Finding("/iou", "too large"), Finding("/classes", "unknown"))
    assert str(error) == "iou: too large; classes: unknown"
