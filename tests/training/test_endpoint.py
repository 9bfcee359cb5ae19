"""Scoring over HTTP: what is asked, how answers are read, how refusals are told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from training.data import CocoDataset
from training.evaluate import Endpoint, EndpointError, detect_endpoint
from training.evaluate.endpoint import read_detections, read_key

ASKED: list[tuple[str, str, int]] = []
KEYS: list[str | None] = []
BOX = {"x1": 1.5, "y1": 2.25, "x2": 30.125, "y2": 40.0}


class Service(BaseHTTPRequestHandler):
    """Answers every JPEG with one box, everything else with a problem."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ASKED.append((self.path, self.headers["Content-Type"], len(body)))
        KEYS.append(self.headers["Authorization"])
        good = body.startswith(b"\xff\xd8")
        found = [{"label": "b", "class_id": 1, "score": 0.5, "box": BOX}]
        answer = json.dumps({"detections": found} if good else {"title": "Unsupported image"}).encode()
        self.send_response(200 if good else 415)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    ASKED.clear()
    KEYS.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def dataset(folder: Path, suffix: str) -> CocoDataset:
    (folder / "images").mkdir()
    for image_id in (4, 2):
        cv2.imwrite(str(folder / "images" / f"{image_id}{suffix}"), np.zeros((48, 64, 3), np.uint8))
    images = [{"id": i, "file_name": f"{i}{suffix}", "width": 64, "height": 48} for i in (4, 2)]
    box = {"id": 1, "image_id": 4, "category_id": 1, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    (folder / "val.json").write_text(json.dumps({"images": images, "annotations": [box], "categories": categories}))
    return CocoDataset.open(folder / "val.json")


def test_every_image_is_asked_for_once_by_the_served_protocol(tmp_path: Path, url: str):
    answers = list(detect_endpoint(Endpoint(url), "mine", dataset(tmp_path, ".jpg")))
    assert [image_id for image_id, _ in answers] == [4, 2]
    asked = parse_qs(urlsplit(ASKED[0][0]).query)
    assert asked["model"] == ["mine"]
    assert (asked["confidence"], asked["iou"], asked["multi_label"]) == (["0.001"], ["0.65"], ["true"])
    assert {kind for _, kind, _ in ASKED} == {"image/jpeg"}
    for _, found in answers:
        np.testing.assert_array_equal(found.boxes, [list(BOX.values())])
        assert (found.scores.tolist(), found.class_ids.tolist()) == ([0.5], [1])


def test_a_key_goes_with_every_picture_and_into_no_message(tmp_path: Path, url: str):
    (tmp_path / "key").write_text("secret\n")
    list(detect_endpoint(Endpoint(url), "mine", dataset(tmp_path, ".jpg")))
    keyed = Endpoint(url, read_key(tmp_path / "key"))
    list(detect_endpoint(keyed, "mine", CocoDataset.open(tmp_path / "val.json")))
    assert KEYS == [None, None, "Bearer secret", "Bearer secret"]
    assert "secret" not in f"{keyed} {keyed!r}"


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "schlüssel"])
def test_a_file_without_a_key_is_named(tmp_path: Path, text: str):
    (tmp_path / "key").write_text(text, encoding="utf-8")
    with pytest.raises(EndpointError, match=r"key holds no API key"):
        read_key(tmp_path / "key")
    with pytest.raises(EndpointError, match=r"cannot read the API key: .*nowhere"):
        read_key(tmp_path / "nowhere")


def test_a_refused_image_is_told_in_the_services_words(tmp_path: Path, url: str):
    with pytest.raises(EndpointError, match=r"\d\.png: 415 .*Unsupported image"):
        list(detect_endpoint(Endpoint(url), "mine", dataset(tmp_path, ".png")))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:eight"])
def test_what_is_no_web_address_is_named(tmp_path: Path, url: str):
    with pytest.raises(EndpointError, match=r"is not http://HOST or https://HOST|Port could not be cast"):
        list(detect_endpoint(Endpoint(url), "mine", dataset(tmp_path, ".jpg")))


@pytest.mark.parametrize("answer", [{}, {"detections": 3}, {"detections": [{"score": 1}]}])
def test_an_answer_of_something_else_is_named(answer: dict[str, object]):
    with pytest.raises(EndpointError, match="holds no detections"):
        read_detections(answer)


def test_a_service_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9 does not answer"):
        list(detect_endpoint(Endpoint("http://127.0.0.1:9"), "mine", dataset(tmp_path, ".jpg")))
