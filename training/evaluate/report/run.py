"""Reports: of a run's best checkpoint, of any model that was scored, and of a model that a service answers with."""

import shlex
from datetime import UTC, datetime
from pathlib import Path

import torch

from training.data import CocoDataset
from training.evaluate.examine import examine
from training.evaluate.latency import measure_latency
from training.evaluate.model import Model, Way, open_model
from training.evaluate.progress import shown
from training.evaluate.report.page import write_page
from training.evaluate.report.subject import Subject, data_argument, run_facts, run_history


def write_report(folder: Path, val_set: CocoDataset, *, image_size: int, device: torch.device) -> Path:
    """Evaluate ``best.pt`` of a run folder and write ``report.html`` beside it; return its path.

    Raises CheckpointError, DatasetError.
    """
    model = open_model(folder / "best.pt", Way(((image_size, image_size),), device=device))
    examination = examine(val_set, shown(model.detect(val_set), len(val_set), "report"))
    data = data_argument(folder)
    command = ["yolov7-training", "evaluate", str(folder / "best.pt"), "--data", data]
    command += ["--shapes", f"{image_size}x{image_size}", "--report", str(folder / "report.html")]
    subject = describe(model, val_set, data, shlex.join(command), folder=folder)
    write_page(examination, subject, folder / "report.html")
    return folder / "report.html"


def describe(model: Model, dataset: CocoDataset, data: str, command: str, *, folder: Path | None = None) -> Subject:
    """Say what is scored on what, and time it. ``folder``: of the run that made the model, where it is known."""
    facts, repeat = run_facts(folder) if folder else ({}, {})
    variant = model.facts.get("variant", model.name).split(",")[0]
    return Subject(
        title=_title(folder.resolve().name if folder else model.name, dataset),
        lead=_lead(variant, dataset, data),
        facts={"model": model.name} | model.facts | _scored_on(dataset, data) | facts,
        repeat=repeat | {"Evaluate, with this report:": command},
        history=run_history(folder) if folder else [],
        latency=measure_latency(model.infer, dataset, model.way.shapes_hw, model.way.device),
    )


def describe_service(url: str, name: str, dataset: CocoDataset, data: str, command: str) -> Subject:
    """Say which model of which service is scored on what."""
    return Subject(
        title=_title(name, dataset),
        lead=_lead(f"The service at {url}", dataset, data),
        facts={"model": name, "service": url} | _scored_on(dataset, data),
        repeat={"Evaluate, with this report:": command},
    )


def _title(name: str, dataset: CocoDataset) -> str:
    return f"{name}: {', '.join(dataset.class_names[:6])}{' …' if len(dataset.class_names) > 6 else ''}"


def _lead(what: str, dataset: CocoDataset, data: str) -> str:
    today = datetime.now(UTC).strftime("%d %B %Y").lstrip("0")
    return f"{what} on {len(dataset):,} images of {data}, {today}"


def _scored_on(dataset: CocoDataset, data: str) -> dict[str, str]:
    objects = sum(int((~image.crowd).sum()) for image in dataset.images)
    return {"scored on": f"{data}: {len(dataset):,} images, {objects:,} objects"}
