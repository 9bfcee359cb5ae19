"""The shipped model through the door that users knock on: ready, quiet on a blank picture, as accurate as its card."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.vision.spec import ModelSpec
from training.data import CocoDataset
from training.evaluate import Endpoint, detect_endpoint, score

PORT = 18_417


@pytest.fixture(scope="module")
def spec(repository: Path) -> ModelSpec:
    return ModelSpec.from_json((repository / "vehicles" / "spec.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def url(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service process in float32 on the shipped repository."""
    with serving(repository, "f32", tmp_path_factory.mktemp("openvino")) as url:
        yield url


@contextmanager
def serving(repository: Path, precision: str, cache: Path, port: int = PORT) -> Iterator[str]:
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--grpc-port", "0"]
    command += ["--precision", precision, "--model-repository", str(repository), "--log-level", "warning"]
    with subprocess.Popen([*command, "--openvino-cache-dir", str(cache)], env={**os.environ}) as server:
        try:
            deadline = time.monotonic() + 60
            while ask("GET", "/readyz", port=port)[0] != 200:
                assert time.monotonic() < deadline, "not ready within 60 s"
                assert server.poll() is None, "the service ended"
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def ask(method: str, path: str, body: bytes = b"", *, port: int = PORT) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def test_a_blank_picture_shows_no_vehicle(url: str):
    blank = cv2.imencode(".jpg", np.full((300, 400, 3), 200, np.uint8))[1].tobytes()
    status, body = ask("POST", "/v1/detect", blank)
    answer = json.loads(body)
    assert (status, answer["detections"]) == (200, [])
    assert answer["image"] == {"width": 400, "height": 300}


def test_accuracy_over_http_is_what_the_card_says(url: str, spec: ModelSpec, shared_data: Path):
    dataset = CocoDataset.open(shared_data / "vehicles" / "val.json")
    served = score(dataset, detect_endpoint(Endpoint(url), "vehicles", dataset))
    assert served.ap == pytest.approx(spec.average_precision["AP"], abs=0.002)
    assert served.ap50 == pytest.approx(spec.average_precision["AP50"], abs=0.002)


def test_the_int8_files_lose_no_more_than_half_a_point(repository: Path, shared_data: Path, tmp_path: Path):
    passport = json.loads((repository / "vehicles" / "1" / "model.int8.xml.passport.json").read_text(encoding="utf-8"))
    dataset = CocoDataset.open(shared_data / "vehicles" / "val.json")
    with serving(repository, "int8", tmp_path, PORT + 1) as url:
        served = score(dataset, detect_endpoint(Endpoint(url), "vehicles", dataset))
    assert served.ap > passport["parent"]["AP"] - 0.005
    assert served.ap == pytest.approx(passport["measurements"][0]["average_precision"]["AP"], abs=0.004)


@pytest.mark.long
def test_accuracy_of_the_second_model_over_http_is_what_its_card_says(url: str, repository: Path, shared_data: Path):
    spec = ModelSpec.from_json((repository / "hit-uav" / "spec.json").read_text(encoding="utf-8"))
    dataset = CocoDataset.open(shared_data / "hit-uav" / "val.json")
    served = score(dataset, detect_endpoint(Endpoint(url), "hit-uav", dataset))
    assert served.ap == pytest.approx(spec.average_precision["AP"], abs=0.002)
    assert served.ap50 == pytest.approx(spec.average_precision["AP50"], abs=0.002)


def test_the_second_model_is_credited(repository: Path):
    card = (repository / "hit-uav" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for credit in ("HIT-UAV", "Suo et al.", "CC BY 4.0"):
        assert credit in card
    spec = ModelSpec.from_json((repository / "hit-uav" / "spec.json").read_text(encoding="utf-8"))
    assert spec.class_names == ("Person", "Car", "Bicycle", "OtherVehicle")
    assert spec.input_shapes[0] == (512, 640)


def test_it_knows_the_classes_of_its_card(spec: ModelSpec, repository: Path):
    assert spec.class_names == ("Ambulance", "Bus", "Car", "Motorcycle", "Truck")
    card = (repository / "vehicles" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for credit in ("Open Images", "CC BY 4.0", "CC BY 2.0"):
        assert credit in card
    assert (repository / "vehicles" / spec.version / "model.onnx").stat().st_size < 15_000_000
