"""The report: one file that asks for no other, says what was measured, and shows what a run left."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from service.vision.detections import Detections
from training.checkpoint import Checkpoint
from training.data import CocoDataset
from training.evaluate import examine
from training.evaluate.latency import Latency
from training.evaluate.report import Subject, tables, write_page, write_report
from training.evaluate.report.charts import Axes, Line, chart, span, ticks
from training.nets import VARIANTS, build_network

SUBJECT = Subject(
    title="cats & dogs",
    lead="tiny on three images",
    facts={"data": "<val.json>"},
    repeat={"Evaluate:": "evaluate a.pt"},
)


class Page(HTMLParser):
    """What a page links to, and the elements left open in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.links += [str(named[key]) for key in ("href", "src") if key in named]
        self.ids += [str(named["id"])] if "id" in named else []
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_asks_for_nothing_else(tmp_path: Path, dataset: CocoDataset, found: dict[int, Detections]):
    write_page(examine(dataset, found.items()), SUBJECT, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\(|<script", text)
    assert len(set(page.ids)) == len(page.ids)


def test_names_from_outside_stay_text(tmp_path: Path, dataset: CocoDataset, found: dict[int, Detections]):
    write_page(examine(dataset, found.items()), SUBJECT, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "dog <b>" not in text
    assert "<title>dog &lt;b&gt;, missed</title>" in text
    assert "&lt;val.json&gt;" in text


def test_many_classes_are_told_by_their_commonest_confusions(dataset: CocoDataset, found: dict[int, Detections]):
    names, counts = tuple(f"c{number}" for number in range(20)), np.zeros((21, 21), np.int64)
    counts[3, 7], counts[5, 20], counts[20, 6] = 9, 2, 4
    many = replace(examine(dataset, found.items()), dataset=replace(dataset, class_names=names), confusion=counts)
    text = tables.confusion(many)
    assert "<td>c3</td><td>c7</td>" in text
    assert "2 missed and 4 false" in text
    assert "Shades" not in text  # there are none


@pytest.mark.parametrize("rows", ["nothing", "perfect"])
def test_a_report_of_nothing_and_of_all_can_be_written(tmp_path: Path, dataset: CocoDataset, rows: str):
    found = {
        image.id: Detections(
            image.boxes_xyxy, np.full(len(image.classes), 0.9, np.float32), image.classes.astype(np.int32)
        )
        for image in dataset.images
    }
    latency = Latency({"network": 2.0, "whole": 3.0}, {"network": 2.5, "whole": 4.0}, 3, "a CPU")
    examination = examine(dataset, found.items() if rows == "perfect" else [])
    subject = Subject("t", "l", {}, {}, latency=latency, served=examination.evaluation, url="http://here")
    write_page(examination, subject, tmp_path / "r.html")
    text = re.sub(r"base64,[^\"]*", "", (tmp_path / "r.html").read_text())
    assert ("<b>100.0</b>" if rows == "perfect" else "<b>0.0</b>") in text
    assert not re.search(r"\bnan\b|NaN", text)


def test_a_run_folder_gets_a_report_with_its_curves_and_commands(tmp_path: Path, dataset: CocoDataset):
    network = build_network(VARIANTS["tiny"], num_classes=2)
    Checkpoint("tiny", "training", dataset.class_names, network.state_dict(), epoch=2).save(tmp_path / "best.pt")
    (tmp_path / "results.csv").write_text("epoch,seconds,box,ap\n1,5,0.1,\n2,5,0.05,0.2\n")
    (tmp_path / "config.json").write_text(json.dumps({"variant": "tiny", "image_size": 64, "batch_size": 2}))
    start = {
        "command": ["/x/training/__main__.py", "train", "--data", "my set", "--run", "r"],
        "code": {"commit": "ab12"},
    }
    (tmp_path / "run.json").write_text(json.dumps({"starts": [start]}))
    path = write_report(tmp_path, dataset, image_size=64, device=torch.device("cpu"))
    text = path.read_text()
    for said in (
        "python -m training train --data &#x27;my set&#x27; --run r",
        "commit ab12",
        "Training loss",
        "2 epochs",
    ):
        assert said in text


def test_a_chart_leaves_gaps_where_nothing_is_known():
    drawn = chart(Axes((0, 1), (0, 1), "x", "y"), [Line("a", (0, 0.5, 0.7, 1), (0, float("nan"), 1, 1))], "t")
    assert re.search(r'd="M46.0 252.0M\d+\.\d 10.0L450.0 10.0"', drawn)


def test_ticks_are_round_and_cover_the_axis():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.13, 0.61) == [0.2, 0.3, 0.4, 0.5, 0.6]
    assert span([0.013, 4.2]) == (0.01, 5)
    assert span([]) == (0.1, 1.0)
    assert span([1e-20, 1e30]) == (1e-12, 1e12)  # a run that went wrong has a report too
