"""The command line, without a server."""

import json
import logging
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.__main__ import main
from service.access import Client, KeyRing, Rate
from service.settings import Settings

Run = Callable[..., str]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], blocks_repository: Path, tmp_path: Path
) -> Iterator[Run]:
    """Runs `yolov7-service` in an empty folder; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOLOV7_MODEL_REPOSITORY", str(blocks_repository))
    monkeypatch.setenv("YOLOV7_OPENVINO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    # Every command sets logging up, which would outlive the test.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["yolov7-service", *arguments])
        main()
        return capsys.readouterr().out

    yield run
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def photo(tmp_path: Path, png: bytes) -> str:
    path = tmp_path / "street.png"
    path.write_bytes(png)
    return str(path)


def test_detect_prints_a_table_and_draws_the_boxes(run: Run, photo: str, tmp_path: Path):
    text = run("detect", photo, "--model", "blocks")
    assert "2 detections in 128 x 128 pixels, by blocks/1" in text
    assert "red" in text
    assert "street.detected.jpg" in text
    with Image.open(tmp_path / "street.detected.jpg") as annotated:
        assert annotated.size == (128, 128)


def test_detect_prints_json(run: Run, photo: str, tmp_path: Path):
    text = run("detect", photo, "--model", "blocks", "--json", "--classes", "blue", "--out", "boxes.png")
    assert [row["label"] for row in json.loads(text)["detections"]] == ["blue"]
    assert (tmp_path / "boxes.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--model", "unicorns"), "no model 'unicorns' in .*; there is blocks"),
        (("--model", "blocks", "--confidence", "7"), "confidence: "),
        (("--model", "blocks", "--classes", "purple"), "it has red, green, blue"),
        (("--model", "blocks", "--streams", "many"), "--streams / YOLOV7_STREAMS: "),
        (("--model", "blocks", "--max-pixels", "10"), r"street\.png: .*128 x 128 pixels"),
        (("--model", "blocks", "--out", "boxes.xyz"), r"--out boxes\.xyz: .*\.png"),
        (("--model", "blocks", "--iou", "0.4", "--iou", "0.5"), "iou: given more than once"),
    ],
)
def test_what_cannot_be_done_is_one_line(run: Run, photo: str, arguments: tuple[str, ...], line: str):
    with pytest.raises(SystemExit, match=f"^yolov7-service: .*{line}") as caught:
        run("detect", photo, *arguments)
    assert "\n" not in str(caught.value)


def test_a_photo_that_is_not_there_is_one_line(run: Run):
    with pytest.raises(SystemExit, match=r"No such file.*nowhere\.jpg"):
        run("detect", "nowhere.jpg")


def test_what_is_no_image_is_said_before_a_model_is_looked_for(run: Run, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("dear diary")
    with pytest.raises(SystemExit, match=r"notes\.txt: 10 bytes that are no JPEG"):
        run("detect", "notes.txt", "--model", "unicorns")


def test_detect_takes_every_option_and_lists_repeated(run: Run, photo: str):
    text = run("detect", photo, "--model", "blocks", "--json", "--classes", "blue", "--classes", "red", "--multi-label",
               "--class-agnostic", "--class-confidence", "blue:0.9")  # fmt: skip
    assert [row["label"] for row in json.loads(text)["detections"]] == ["red"]


def test_detect_without_a_repository_says_where_it_looked(
    run: Run, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("YOLOV7_MODEL_REPOSITORY")
    with pytest.raises(SystemExit, match=f"no model 'vehicles' in {tmp_path}/model_repository; there is none"):
        run("detect", photo)


def test_a_key_is_printed_once_with_the_entry_that_makes_it_valid(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    token, blank, entry = run("key", "door", "--rights", "detect, admin", "--rate", "20/second").split("\n", 2)
    (tmp_path / "keys.toml").write_text(entry)
    client = KeyRing.from_file(tmp_path / "keys.toml").authenticate(token)
    assert client == Client("door", frozenset({"detect", "admin"}), Rate(20, 1))
    assert blank == ""
    assert token not in entry


def test_a_key_may_detect_unless_told_otherwise_and_the_hint_stays_out_of_the_output(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", ["yolov7-service", "key", "door"])
    main()
    out, err = capsys.readouterr()
    assert tomllib.loads(out.partition("\n")[2])["key"][0]["rights"] == ["detect"]
    assert err.count("\n") == 1
    assert "--keys-file" in err
    assert out.split("\n")[0] not in err


def test_a_key_is_made_whatever_the_settings(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLOV7_PORT", "http")
    assert run("key", "door").startswith("y7_")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("front door",), "name must be"),
        (("anonymous",), "name must be"),
        (("door", "--rights", "root"), "rights must be a list of detect and admin"),
        (("door", "--rights", ""), "rights must be"),
        (("door", "--rate", "often"), "a rate is written like 20/second"),
    ],
)
def test_a_key_that_cannot_be_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], line: str
):
    with pytest.raises(SystemExit, match=f"^yolov7-service: .*{line}") as caught:
        run("key", *arguments)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (("--rate", "often"), "--rate / YOLOV7_RATE: "),
        (("--formats", "JPG"), "--formats / YOLOV7_FORMATS: "),
        (("--redis-url", "http://me:hush@h", "--cache-secret", "x"), "--redis-url / YOLOV7_REDIS_URL: "),
        (("--workers", "2"), "workers: "),
        (("--keys-file", "nowhere.toml"), "keys file nowhere.toml: "),
        (("--default-model", "unicorns"), "no model 'unicorns'"),
    ],
)
def test_what_serve_cannot_start_with_is_one_line(run: Run, settings: tuple[str, ...], line: str):
    with pytest.raises(SystemExit, match=f"^yolov7-service: {line}") as caught:
        run("serve", *settings)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_help_of_serve_lists_every_setting(run: Run, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run("serve", "--help")
    text = capsys.readouterr().out
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in text
        assert f"YOLOV7_{name.upper()}" in text


def test_help_lists_every_command(run: Run, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run("--help")
    text = capsys.readouterr().out
    assert all(f"    {command} " in text for command in ("serve", "detect", "key"))
