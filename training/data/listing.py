"""The ``data.yaml`` of YOLO sets: where the images of each part lie and what the classes are called.

Only what such files hold is understood, which a YAML library would not check for us either: ``key: value``, lists in
brackets or as ``- item`` lines, and names as ``0: person`` lines. Anything else is an error with its line.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from training.data.coco import DatasetError

_PAIR = re.compile(r"""(?P<indent>\s*)(?P<key>[\w-]+|"[^"]*"|'[^']*')\s*:(?:\s+(?P<value>.*))?$""")
_COMMENT = re.compile(r"""(?:^|\s)\#(?=(?:[^"']|"[^"]*"|'[^']*')*$).*""")


@dataclass(frozen=True, slots=True)
class Listing:
    """class_names: by class. parts: folders of images or text files of paths, for each part that the file names."""

    class_names: tuple[str, ...]
    parts: dict[str, tuple[Path, ...]]

    @classmethod
    def read(cls, path: Path, parts: tuple[str, ...] = ("train", "val", "test")) -> "Listing":
        """Read a ``data.yaml``; relative paths start at its ``path``, or at its own folder. Raises DatasetError."""
        try:
            table = _parse(path.read_text(encoding="utf-8-sig"))
            names = _names(table.get("names", []))
        except OSError as exc:
            raise DatasetError(f"cannot read {path}: {exc.strerror}") from exc
        except ValueError as exc:
            raise DatasetError(f"{path}: {exc}") from exc
        stated = table.get("nc")
        if not names or (stated is not None and str(stated) != str(len(names))):
            raise DatasetError(f"{path}: has {len(names)} names for {stated or 'its'} classes")
        root = path.parent / str(table.get("path") or ".")
        found = {name: _paths(table[name], root) for name in parts if table.get(name)}
        return cls(tuple(names), found)


def _paths(value: str | list[str] | dict[str, str], root: Path) -> tuple[Path, ...]:
    items = value if isinstance(value, list) else [str(value)]
    return tuple(root / item for item in items)


def _names(value: str | list[str] | dict[str, str]) -> list[str]:
    if not isinstance(value, dict):
        return value if isinstance(value, list) else [value]
    if sorted(value, key=int) != [str(index) for index in range(len(value))]:
        raise ValueError("the numbers of the names do not run from 0 without a gap")
    return [value[str(index)] for index in range(len(value))]


def _parse(text: str) -> dict[str, str | list[str] | dict[str, str]]:
    """Return keys with a word, a list or a mapping each. Raises ValueError."""
    table: dict[str, str | list[str] | dict[str, str]] = {}
    key = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw).rstrip()
        if not line or line == "---":
            continue
        held, item, pair = table.get(key), line.strip(), _PAIR.match(line)
        if item.startswith("- ") and (held == "" or isinstance(held, list)):
            table[key] = [*held, _word(item[2:])]
        elif pair and not pair["indent"]:
            key = _word(pair["key"])
            table[key] = _value(pair["value"] or "")
        elif pair and (held == "" or isinstance(held, dict)):
            earlier = held if isinstance(held, dict) else {}
            table[key] = {**earlier, _word(pair["key"]): _word(pair["value"] or "")}
        else:
            raise ValueError(f"line {number} is not understood: {raw.strip()!r}")
    return table


def _value(text: str) -> str | list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_word(item) for item in text[1:-1].split(",") if item.strip()]
    if text.startswith(("[", "{", "|", ">", "&", "*")):
        raise ValueError(f"the value {text!r} is not understood: write it on one line, or as '- item' lines")
    return _word(text)


def _word(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
