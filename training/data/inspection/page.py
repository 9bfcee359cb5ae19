"""The check as one HTML file with its pictures inside: counts, plots, and the first cases of each kind of finding."""

import base64
import html
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from service.vision.image import ImageError, decode
from training.data.inspection.balance import PERCENTILES
from training.data.inspection.finding import KINDS, Finding
from training.data.inspection.inspect import Inspection
from training.data.inspection.plots import draw
from training.data.source import MAX_PIXELS

_CASES = 8  # pictures of each kind
_LISTED = 40  # lines of each kind
_SIDE = 260
_ROOM = 40  # screen pixels around a box, at least
_SENTENCE = 30  # letters from which a cell may be broken
_RED = (255, 40, 40)

_PHONE = '<meta name="viewport" content="width=device-width,initial-scale=1">'
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#222;--soft:#5d6771;--line:#ddd;--error:#b00020;--warning:#8a5a00}
@media (prefers-color-scheme:dark){
:root{--page:#14171a;--ink:#e8eaec;--soft:#9ca6af;--line:#2d333a;--error:#ff7b66;--warning:#ffb648}}
body{font:15px/1.45 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:var(--ink);
background:var(--page)}h1,p,li{overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.25em .7em;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
td.says{white-space:normal;min-width:16em}
td.n{text-align:right}.error{color:var(--error)}.warning{color:var(--warning)}.note{color:var(--soft)}
figure{display:inline-block;margin:0 .8em .8em 0;vertical-align:top;max-width:min(560px,100%)}
figcaption{font-size:12px;color:var(--soft);overflow-wrap:anywhere}
img{max-width:100%;margin-right:4px}li{font-size:13px}
"""


def write_page(inspection: Inspection, title: str, path: Path) -> None:
    """Write the page; it needs no other file."""
    body = [f"<h1>{html.escape(title)}</h1>", _parts(inspection), _overview(inspection)]
    for name, png in draw(inspection).items():
        body.append(f"<figure>{_image(png, 'png')}<figcaption>{name}</figcaption></figure>")
    for kind, per_part in inspection.counts().items():
        cases = [finding for finding in inspection.findings if finding.kind == kind]
        body.append(_section(kind, cases, sum(per_part.values())))
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{_PHONE}<title>{html.escape(title)}</title>'
    path.write_text(f"{head}<style>{_STYLE}</style><body>{''.join(body)}</body></html>", encoding="utf-8")


def _parts(inspection: Inspection) -> str:
    heads = ["part", "images", "without objects", "objects", "crowds", *(f"side {p} %" for p in PERCENTILES), "< 8 px"]
    rows = []
    for name, balance in inspection.balance.items():
        numbers = balance.images, balance.empty, sum(balance.objects.values()), balance.crowds
        sides = [f"{side:.0f}" for side in balance.sides_px] or [""] * len(PERCENTILES)
        rows.append([name, *(f"{number:,}" for number in numbers), *sides, f"{100 * balance.under_8:.1f} %"])
    return _table(heads, rows) + f"<p>Sides: root of a box's area in pixels, images at {inspection.image_size}.</p>"


def _overview(inspection: Inspection) -> str:
    if not inspection.findings:
        return "<p>Nothing was found.</p>"
    rows = [
        [
            str(KINDS[kind].severity),
            kind,
            *(str(per_part[name] or "") for name in inspection.balance),
            KINDS[kind].consequence,
        ]
        for kind, per_part in inspection.counts().items()
    ]
    return _table(["", "kind", *inspection.balance, "consequence"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    lines = []
    for row in rows:
        cells = "".join(f"<td{_kind(cell)}>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr class='{row[0] if row[0] in ('error', 'warning', 'note') else ''}'>{cells}</tr>")
    return f"<div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _kind(cell: str) -> str:
    return " class=n" if cell[:1].isdigit() else " class=says" if len(cell) > _SENTENCE else ""


def _section(kind: str, cases: list[Finding], total: int) -> str:
    severity = KINDS[kind].severity
    parts = [f"<h2 class={severity}>{kind}: {total:,}</h2><p>{KINDS[kind].consequence}</p>"]
    shown = [finding for finding in cases if finding.image][:_CASES]
    for finding in shown:
        pictures = [_picture(finding.image, finding.box_xyxy), _picture(finding.other, None)]
        where = f"{finding.part}: {finding.image.name if finding.image else ''}: {finding.text}"
        parts.append(f"<figure>{''.join(pictures)}<figcaption>{html.escape(where)}</figcaption></figure>")
    listed = [finding for finding in cases if finding not in shown][:_LISTED]
    texts = (f"{finding.part}: {finding.image or ''} {finding.text}" for finding in listed)
    lines = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    left = total - len(shown) - len(listed)
    return "".join(parts) + (f"<ul>{lines}</ul>" if lines else "") + (f"<p>and {left:,} more</p>" if left else "")


def _picture(path: Path | None, box_xyxy: tuple[float, float, float, float] | None) -> str:
    """Return a thumbnail with the box on it; nothing for what cannot be opened."""
    if path is None:
        return ""
    try:
        pixels = decode(path.read_bytes(), max_pixels=MAX_PIXELS)
    except (OSError, ImageError):
        return ""
    ratio = min(_SIDE / max(pixels.shape[:2]), 4.0)
    size = max(round(pixels.shape[1] * ratio), 1), max(round(pixels.shape[0] * ratio), 1)
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if box_xyxy is not None:
        small = _framed(small, np.array(box_xyxy) * ratio)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))
    return _image(jpeg.tobytes(), "jpeg")


def _framed(image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw the box, with grey room around the image where the box reaches over its edge."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(box, -_ROOM, np.array((width, height, width, height)) + _ROOM).round().astype(int).tolist()
    room = max(0, -min(x1, x2), -min(y1, y2), max(x1, x2) - width, max(y1, y2) - height) and _ROOM + 2
    image = np.pad(image, ((room, room), (room, room), (0, 0)), constant_values=225)
    cv2.rectangle(image, (x1 + room - 1, y1 + room - 1), (x2 + room, y2 + room), _RED, 2)
    return image


def _image(data: bytes, kind: str) -> str:
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
