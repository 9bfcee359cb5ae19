"""Whole runs: from a file, a folder or a pipe through a real service to what is written."""

import contextlib
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from service.vision.draw import class_colour

Watch = Callable[..., Any]
Lines = Callable[..., list[dict[str, Any]]]
Scene = Callable[[int], NDArray[np.uint8]]


@pytest.fixture
def pictures(tmp_path: Path, scene: Scene) -> Path:
    """A folder with three pictures named as COCO's are, and a file that is no picture's."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index + 7:012d}.jpg").write_bytes(simplejpeg.encode_jpeg(scene(index)))
    (folder / "notes.txt").write_text("dear diary")
    return folder


def drawn(frame: NDArray[np.uint8]) -> int:
    """How many pixels have the colour in which the first class is drawn."""
    return int((np.abs(frame.astype(int) - class_colour(0)).max(axis=2) < 40).sum())


def lefts(line: dict[str, Any]) -> set[float]:
    return {found["box"]["x1"] for found in line["detections"]}


def test_every_frame_of_a_file_is_answered_in_its_order(watch: Watch, clip: Path, read_lines: Lines):
    finished = watch(clip, "--jsonl", "lines.jsonl", "--confidence", "0.7")
    results = read_lines(Path("lines.jsonl"), type="result")
    assert finished.code == 0
    assert [line["sequence"] for line in results] == list(range(20))
    assert [line["time_s"] for line in results] == pytest.approx([index / 10 for index in range(20)])
    for index, line in enumerate(results):
        assert lefts(line) == {16 * (index % 8), 16 * (index % 8) + 8}
        assert {found["label"] for found in line["detections"]} == {"red"}
        assert line["model"] == {"name": "blocks", "version": "1"}


def test_the_video_has_each_frame_at_its_time_with_its_boxes(
    watch: Watch, clip: Path, play: Callable[[Path], list[NDArray[np.uint8]]]
):
    assert watch(clip, "--mp4", "boxes.mp4", "--confidence", "0.7").code == 0
    before, after = play(clip), play(Path("boxes.mp4"))
    assert len(after) == 20
    assert max(map(drawn, before)) == 0
    assert min(map(drawn, after)) > 50


def test_the_video_plays_at_the_speed_of_the_source(watch: Watch, clip: Path):
    watch(clip, "--mp4", "boxes.mp4")
    with av.open("boxes.mp4") as video:
        assert video.streams.video[0].average_rate == 10
        assert [frame.time for frame in video.decode(video=0)] == pytest.approx([index / 10 for index in range(20)])


def test_coco_results_can_be_evaluated(watch: Watch, pictures: Path):
    assert watch(pictures, "--coco", "found.json", "--coco-images", "images.json", "--confidence", "0.7").code == 0
    images, found = json.loads(Path("images.json").read_text()), json.loads(Path("found.json").read_text())
    assert [image["id"] for image in images["images"]] == [7, 8, 9]
    truth = [row | {"id": number + 1, "iscrowd": 0, "area": 64.0} for number, row in enumerate(found)]
    Path("truth.json").write_text(json.dumps(images | {"annotations": truth}))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO("truth.json")
        evaluation = COCOeval(truth, truth.loadRes("found.json"), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1


def test_a_folder_is_sent_as_it_is_and_drawn(watch: Watch, pictures: Path, play: Any):
    (pictures / "broken.jpg").write_bytes(b"no picture at all")
    finished = watch(pictures, "--out", "drawn", "--mp4", "drawn.mp4", "--confidence", "0.7")
    names = sorted(path.name for path in Path("drawn").iterdir())
    assert names == [f"{index + 7:012d}.jpg" for index in range(3)]
    assert all(drawn(simplejpeg.decode_jpeg(path.read_bytes())) > 50 for path in Path("drawn").iterdir())
    assert len(play(Path("drawn.mp4"))) == 3
    assert finished.code == 0
    assert "frame broken.jpg failed" in finished.err


def test_one_picture(watch: Watch, pictures: Path, read_lines: Lines):
    assert watch(pictures / f"{8:012d}.jpg", "--jsonl", "lines.jsonl", "--confidence", "0.7").code == 0
    (line,) = read_lines(Path("lines.jsonl"), type="result")
    assert line["frame"] == f"{8:012d}.jpg"
    assert lefts(line) == {16, 24}


@pytest.mark.parametrize("kind", ["clip", "pictures"])
def test_boxes_are_in_the_sources_pixels_however_small_it_is_sent(
    watch: Watch, kind: str, request: pytest.FixtureRequest, read_lines: Lines
):
    source = request.getfixturevalue(kind)
    watch(source, "--jsonl", "lines.jsonl", "--max-side", "64", "--confidence", "0.7")
    first = read_lines(Path("lines.jsonl"), type="result")[0]
    assert first["image"] == {"width": 128, "height": 128}
    corners = {(found["box"]["x1"], found["box"]["y2"]) for found in first["detections"]}
    assert corners == {(0, 72), (8, 72), (0, 80), (8, 80)}


def test_bare_pixels_are_answered_as_jpegs_are(watch: Watch, clip: Path, read_lines: Lines):
    watch(clip, "--jsonl", "lines.jsonl", "--raw", "--confidence", "0.7")
    assert lefts(read_lines(Path("lines.jsonl"), type="result")[3]) == {48, 56}


def test_fewer_frames_a_second_keep_their_numbers(watch: Watch, clip: Path, read_lines: Lines):
    watch(clip, "--jsonl", "lines.jsonl", "--fps", "5")
    sequences = [line["sequence"] for line in read_lines(Path("lines.jsonl"), type="result")]
    assert sequences == list(range(0, 20, 2))


def test_a_file_of_which_the_newest_is_wanted_plays_at_its_own_speed(watch: Watch, clip: Path, read_lines: Lines):
    watch(clip, "--jsonl", "lines.jsonl", "--delivery", "latest")
    lines = read_lines(Path("lines.jsonl"))
    answered = [line["sequence"] for line in lines if line["type"] == "result"]
    dropped = sum(line["count"] for line in lines if line["type"] == "dropped")
    assert len(answered) + dropped == 20
    assert answered == sorted(answered)


def test_lines_on_standard_output_are_alone_there(watch: Watch, clip: Path):
    finished = watch(clip, "--jsonl", "-")
    assert len([json.loads(line) for line in finished.out.splitlines()]) == 22
    assert "answered" in finished.err


def test_the_summary_counts(watch: Watch, clip: Path):
    out = watch(clip, "--confidence", "0.7").out
    assert "frames read             20" in out
    assert "answered                20 (" in out
    assert "detections              red 80" in out


@pytest.mark.parametrize("flag", [(), ("--format", "mp4")])
def test_what_cannot_be_read_is_one_line(watch: Watch, tmp_path: Path, flag: tuple[str, ...]):
    (tmp_path / "notes.dat").write_text("dear diary" * 100)
    finished = watch(tmp_path / "notes.dat", *flag)
    assert finished.code == 1
    assert finished.err.count("\n") <= 1
    assert "notes.dat: " in finished.err
    assert finished.out == ""


@pytest.mark.parametrize(
    ("source", "flags", "line"),
    [
        ("nowhere.mp4", (), "nowhere.mp4: there is no such file"),
        ("/dev/video99", (), "/dev/video99: No such file or directory"),
        (".", (), "there is no picture in this folder"),
        ("clip", ("--model", "unicorns"), "no model 'unicorns'"),
        ("clip", ("--confidence", "7"), "confidence"),
        ("clip", ("--classes", "purple"), "purple"),
        ("clip", ("--grpc", "127.0.0.1:1", "--give-up", "0.1"), "refused"),
        ("clip", ("--url", "detector"), "is no URL"),
        ("clip", ("--mp4", "nowhere/boxes.mp4"), "No such file or directory: 'nowhere/boxes.mp4'"),
        ("clip", ("--key-file", "nowhere"), "No such file or directory: 'nowhere'"),
        ("clip", ("--key-file", __file__), "a key is one word"),
        ("clip", ("--url", "http://detector:80000"), "Port out of range"),
        ("clip", ("--ca", __file__), "holds no certificate"),
        ("rtsp://me:hush@[::1/live", (), "rtsp://***@[::1/live: this is no address"),
    ],
)
def test_what_cannot_be_done_is_said(watch: Watch, clip: Path, source: str, flags: tuple[str, ...], line: str):
    finished = watch(clip if source == "clip" else source, *flags)
    assert finished.code == 1
    assert line in finished.err.splitlines()[-1]


def test_a_run_in_which_nothing_was_answered_is_no_success(watch: Watch, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture at all")
    finished = watch(tmp_path / "broken.jpg")
    assert finished.code == 1
    assert finished.err.endswith("broken.jpg: no frame of it was answered\n")


@pytest.mark.parametrize("name", ["scene.mkv", "scene.mjpeg"])
def test_a_pipe(start: Callable[..., Any], write_clip: Callable[..., Path], scene: Scene, tmp_path: Path, name: str):
    path = tmp_path / name
    if name.endswith("mkv"):
        write_clip(path)
    else:
        path.write_bytes(b"".join(simplejpeg.encode_jpeg(scene(index)) for index in range(20)))
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        watching = start("-", "--confidence", "0.7", stdin=cat.stdout)
        results = watching.wait_for(20, type="result")
        assert watching.process.wait(60) == 0
    assert [lefts(line) for line in results][:3] == [{0, 8}, {16, 24}, {32, 40}]
