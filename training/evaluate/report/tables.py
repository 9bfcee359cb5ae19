"""The tables of a report: classes, sizes, what is taken for what, time, facts."""

import html
import json
import math
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from training.evaluate.confusion import CONFIDENCE, IOU
from training.evaluate.examine import Examination
from training.evaluate.latency import Latency
from training.evaluate.score import Evaluation

_NUMBERED = 16  # classes up to which the confusion matrix is a table of numbers
_CONFUSIONS = 15


def points(value: float) -> str:
    """A fraction in points, a dash for what is not known."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def card(heads: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    """Return a table in a frame; a head that begins with # is of numbers, with | of bars; ~ is left out on a phone."""
    cells = []
    for head in heads:
        classes = " ".join(name for mark, name in (("#", "n"), ("~", "hide"), ("|", "meter")) if mark in head[:2])
        cells.append(f'<th class="{classes}">{html.escape(head.lstrip("#~|"))}</th>')
    top = f"<thead><tr>{''.join(cells)}</tr></thead>" if heads else ""
    return f'<div class="card"><table class="{kind}">{top}<tbody>{"".join(rows)}</tbody></table></div>'


def facts(lines: dict[str, str]) -> str:
    """Headings and values."""
    rows = (f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, text in lines.items())
    return card((), list(rows), "facts")


def classes(examination: Examination) -> str:
    """AP of each class, and the confidence that suits it best."""
    heads = ("class", "#~objects", "|AP in AP50", "#AP", "#AP50", "#~AP75", "#~AR", "#best F1", "#at")
    evaluation, curves = examination.evaluation, examination.curves
    total = sum(scores.objects for scores in evaluation.per_class.values())
    common = curves.best_common_confidence()
    known = curves.f1[~np.isnan(curves.f1[:, 0])]
    best = float(known.mean(axis=0).max()) if len(known) else math.nan
    rows = [_class_row("all", evaluation, total, best, common)]
    for index, (name, scores) in enumerate(evaluation.per_class.items()):
        f1 = float(curves.f1[index].max())
        rows.append(_class_row(name, scores, scores.objects, f1, curves.best_confidence(index)))
    return card(heads, rows)


def _class_row(name: str, scores: object, objects: int, f1: float, confidence: float) -> str:
    ap, ap50, ap75, ar = (float(getattr(scores, key)) for key in ("ap", "ap50", "ap75", "ar100"))
    numbers = [
        f'<td class="n hide">{objects:,}</td>{_meter(ap, ap50)}',
        *(f'<td class="n{hide}">{points(value)}</td>' for value, hide in ((ap, ""), (ap50, ""), (ap75, " hide"))),
        f'<td class="n hide">{points(ar)}</td><td class="n">{points(f1)}</td>',
        f'<td class="n">{"–" if math.isnan(confidence) else f"{confidence:.3f}"}</td>',
    ]
    kind = ' class="all"' if name == "all" else ""
    return f"<tr{kind}><td>{html.escape(name)}</td>{''.join(numbers)}</tr>"


def _meter(inner: float, outer: float) -> str:
    wide, short = (0.0 if math.isnan(value) else 100 * value for value in (outer, inner))
    bars = f'<i style="width:{wide:.1f}%"></i><i style="width:{short:.1f}%"></i>'
    return f'<td class="meter"><div class="track">{bars}</div></td>'


def sizes(evaluation: Evaluation) -> str:
    """AP and AR by the size of objects."""
    parts = (
        ("small", "below 32² pixels", evaluation.ap_small, evaluation.ar_small),
        ("medium", "32² to 96²", evaluation.ap_medium, evaluation.ar_medium),
        ("large", "above 96²", evaluation.ap_large, evaluation.ar_large),
    )
    rows = [
        f'<tr><td>{name}</td><td class="hide">{which}</td>{_meter(ap, ar)}<td class="n">{points(ap)}</td>'
        f'<td class="n">{points(ar)}</td></tr>'
        for name, which, ap, ar in parts
    ]
    return card(("objects", "~area in the original image", "|AP in AR", "#AP", "#AR"), rows)


def recalls(evaluation: Evaluation) -> str:
    """AR by how many detections of an image and class count."""
    parts = ((1, evaluation.ar1), (10, evaluation.ar10), (100, evaluation.ar100))
    rows = [f'<tr><td>{n}</td>{_meter(ar, ar)}<td class="n">{points(ar)}</td></tr>' for n, ar in parts]
    return card(("detections that count", "", "#AR"), rows)


def confusion(examination: Examination) -> str:
    """The matrix as numbers for some classes, as the commonest confusions for many."""
    names = [*examination.dataset.class_names, "background"]
    counts = examination.confusion
    note = f"At confidence {CONFIDENCE}, pairs that overlap by more than {IOU}, whatever their classes"
    if len(names) > _NUMBERED + 1:
        missed, false = int(counts[:-1, -1].sum()), int(counts[-1, :-1].sum())
        return f"<p>{note}: the commonest. Besides, {missed:,} missed and {false:,} false.</p>{_commonest(examination)}"
    note += ". Rows are what is there, columns what it is taken for; the last column is what was missed, the last row "
    note += "what is not there. Shades are shares of a row."
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    rows = [f'<tr><th class="axis">is ↓ taken for →</th>{heads}</tr>']
    for row, name in enumerate(names):
        total = max(int(counts[row].sum()), 1)
        cells = "".join(_heat(int(counts[row, k]), int(counts[row, k]) / total, row == k) for k in range(len(names)))
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    return f'<p>{note}</p><div style="--n:{len(names) + 1}">{card((), rows, "heat")}</div>'


def _heat(count: int, share: float, own: bool) -> str:
    if not count:
        return '<td class="none">·</td>'
    shade = f"background:rgb(var(--shade) / {0.06 + 0.6 * share:.2f})"
    return f'<td class="{"own" if own else ""}" style="{shade}">{count:,}</td>'


def _commonest(examination: Examination) -> str:
    names = [*examination.dataset.class_names, "background"]
    wrong = examination.confusion[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    rows = []
    for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if count := int(wrong[true, predicted]):
            share = count / int(examination.confusion[true].sum())
            cells = f"<td>{html.escape(names[true])}</td><td>{html.escape(names[predicted])}</td>"
            rows.append(f'<tr>{cells}<td class="n">{count:,}</td><td class="n">{points(share)} %</td></tr>')
    return card(("is", "taken for", "#times", "#of the class"), rows)


def latency(found: Latency) -> str:
    """Milliseconds of the stages."""
    longest = max(found.median_ms.values())
    rows = []
    for name, median in found.median_ms.items():
        meter = _meter(median / longest, median / longest)
        numbers = f'<td class="n">{median:.2f}</td><td class="n">{found.p95_ms[name]:.2f}</td>'
        rows.append(f"<tr{' class=all' if name == 'whole' else ''}><td>{name}</td>{meter}{numbers}</tr>")
    return card(("stage", "", "#median ms", "#95 % ms"), [rows[-1], *rows[:-1]])


def agreement(here: Evaluation, served: Evaluation) -> str:
    """The figures of both ways to the same detections."""
    lines = [("AP", here.ap, served.ap), ("AP50", here.ap50, served.ap50), ("AP75", here.ap75, served.ap75)]
    for name, scores in here.per_class.items():
        lines.append((f"AP {name}", scores.ap, served.per_class[name].ap))
    rows = [
        f'<tr><td>{html.escape(name)}</td><td class="n">{100 * own:.2f}</td><td class="n">{100 * other:.2f}</td>'
        f'<td class="n">{100 * (other - own):+.2f}</td></tr>'
        for name, own, other in lines
        if not math.isnan(own + other)
    ]
    return card(("points", "#here", "#through the service", "#difference"), rows)


def class_confidence(examination: Examination) -> str:
    """What to ask the service for: in the query of HTTP, and as an option of the Python client."""
    best = examination.class_confidence()
    query = "&".join(f"class_confidence={quote(name)}:{value:g}" for name, value in best.items())
    text = (
        f"{query}\nclass_confidence={json.dumps(best)}" if best else "No class is worth showing at any confidence yet."
    )
    block = f"<pre>{html.escape(text)}</pre>"
    return block if len(best) <= _NUMBERED else f"<details><summary>{len(best)} classes</summary>{block}</details>"
