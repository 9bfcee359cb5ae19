"""A model's report: one HTML file with everything in it, which opens anywhere and asks nobody for anything."""

import html
from pathlib import Path

from training.evaluate.examine import Examination
from training.evaluate.report import plots, tables
from training.evaluate.report.gallery import gallery, switches
from training.evaluate.report.subject import Subject

_STYLE = Path(__file__).with_name("style.css")
_WORST, _TYPICAL = 12, 6


def write_page(examination: Examination, subject: Subject, path: Path) -> None:
    """Write the report; whoever looks finds the old file or the whole new one. Raises DatasetError, OSError."""
    sections = _sections(examination, subject)
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _, _) in sections.items())
    parts = [f"<h1>{html.escape(subject.title)}</h1>", f'<p class="lead">{html.escape(subject.lead)}</p>']
    parts += [_tiles(examination, subject), f"<nav>{links}</nav>"]
    for name, (title, intro, body) in sections.items():
        parts.append(f'<section><h2 id="{name}">{title}</h2>{f"<p>{intro}</p>" if intro else ""}{body}</section>')
    parts.append(
        "<footer>All figures are fractions of 1 in points (×100). COCO's rules; a dash: no such object.</footer>"
    )
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    head += '<meta name="viewport" content="width=device-width,initial-scale=1">'
    head += f"<title>{html.escape(subject.title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(f"{head}<body><main>{''.join(parts)}</main></body></html>", encoding="utf-8")
    temporary.replace(path)


def _tiles(examination: Examination, subject: Subject) -> str:
    evaluation = examination.evaluation
    named = {"AP": evaluation.ap, "AP50": evaluation.ap50, "AP75": evaluation.ap75, "AR": evaluation.ar100}
    under = {"AP": "AP, IoU 0.5 to 0.95", "AP50": "AP50", "AP75": "AP75", "AR": "AR, 100 detections"}
    tiles = [(tables.points(value), "", under[name]) for name, value in named.items()]
    if subject.latency:
        tiles.append((f"{subject.latency.median_ms['whole']:.1f}", "ms", "an image alone, here"))
    tiles.append((f"{100 * examination.calibration.error:.1f}", "", "calibration error"))
    drawn = (
        f'<div class="tile{"" if place else " first"}"><b>{value}{f" <small>{unit}</small>" if unit else ""}</b>'
        f"<span>{text}</span></div>"
        for place, (value, unit, text) in enumerate(tiles)
        if value != "nan"
    )
    return f'<div class="tiles">{"".join(drawn)}</div>'


def _sections(examination: Examination, subject: Subject) -> dict[str, tuple[str, str, str]]:
    """Title, introduction and body of each section, by its name in the page."""
    evaluation = examination.evaluation
    asked = f"{plots.common_confidence(examination.curves)} Each class at its own, over HTTP and in the Python client:"
    sections = {
        "classes": (
            "Classes",
            "The bar is AP within AP50. The last two columns: the best F1 at IoU 0.5, and the confidence it is at.",
            f"{tables.classes(examination)}<p>{asked}</p>{tables.class_confidence(examination)}",
        ),
        "sizes": (
            "Sizes and recall",
            "",
            f'<div class="two">{tables.sizes(evaluation)}{tables.recalls(evaluation)}</div>',
        ),
        "curves": ("Curves", "", plots.curves(examination)),
        "confusion": ("What is taken for what", "", tables.confusion(examination)),
        "calibration": ("Calibration", _calibration(examination), plots.calibration(examination)),
    }
    if subject.history:
        sections["training"] = ("Training", "", plots.training(subject.history))
    sections["gallery"] = ("Images", _GALLERY, _galleries(examination))
    if subject.latency:
        intro = f"{html.escape(subject.latency.machine)}; {subject.latency.images} images, one after the other, "
        intro += "with nothing else of this process at work. The service is measured by bench."
        sections["speed"] = ("Time of an image", intro, tables.latency(subject.latency))
    if subject.served:
        intro = f"The same images as files over HTTP to {html.escape(subject.url)}, and in this process."
        sections["served"] = ("Through the service", intro, tables.agreement(evaluation, subject.served))
    sections["model"] = ("Model and data", "", tables.facts(subject.facts))
    sections["repeat"] = ("How to repeat it", "", _commands(subject))
    return sections


_GALLERY = (
    "At each class's best confidence, or 0.05 if that is lower. What an image costs is by how much AP50 would rise if "
    "its detections were perfect. Select a picture to enlarge it; boxes tell what they are when pointed at."
)


def _calibration(examination: Examination) -> str:
    error = examination.calibration.error
    if error != error:
        return "There are no detections to speak of."
    text = "Of detections with a score of 0.7, seven in ten should be right; the dashed line is where that holds. "
    return f"{text}The expected calibration error is {100 * error:.1f} points: by how much both differ on average."


def _galleries(examination: Examination) -> str:
    worst = examination.errors.worst()[:_WORST]
    typical = examination.errors.typical(_TYPICAL, without=worst)
    parts = [switches()]
    if len(worst):
        parts.append(f"<h3>The worst</h3>{gallery(examination, worst, 'worst-')}")
    if len(typical):
        parts.append(f"<h3>From the best to the worst, evenly</h3>{gallery(examination, typical, 'typical-')}")
    return "".join(parts)


def _commands(subject: Subject) -> str:
    return "".join(f"<p>{html.escape(what)}</p><pre>{html.escape(how)}</pre>" for what, how in subject.repeat.items())
