import base64
import re

import cv2
import numpy as np

from training.__main__ import main
from training.data.inspection import write_page

PICTURE = re.compile(r'src="data:image/(png|jpeg);base64,([^"]+)"')


def faulty(write_part) -> object:
    write_part("train", [1, 2], [(0, 1, [10, 10, 20, 20]), (1, 2, [-10, 50, 30, 30])])
    return write_part("val", [2, 3], [(0, 1, [100, 10, 20, 20]), (1, 2, [float("nan"), 5, 5, 5])])


def test_the_page_shows_every_kind_with_pictures_that_open(write_part, found, tmp_path):
    inspection = found(faulty(write_part))
    write_page(inspection, "Check of <this>", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Check of &lt;this&gt;" in page
    assert "width=device-width" in page  # on a phone, too
    assert "prefers-color-scheme:dark" in page
    for kind in ("leak", "box outside", "box not finite", "box over the edge"):
        assert f">{kind}: 1</h2>" in page
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1) for _, data in PICTURE.findall(page)]
    assert len(pictures) >= 4 + 5  # plots; a picture for each finding, two for the leak
    assert all(picture is not None for picture in pictures)


def test_a_set_without_findings_still_has_its_plots(write_part, found, tmp_path):
    write_page(
        found(write_part("part", [1], [(0, 1, [10, 10, 20, 20])], categories=[{"id": 1, "name": "a"}])),
        "x",
        tmp_path / "p",
    )
    page = (tmp_path / "p").read_text()
    assert "Nothing was found" in page
    assert len(PICTURE.findall(page)) == 4


def test_the_command_says_what_is_wrong_and_exits_with_1(write_part, tmp_path, capsys):
    folder = faulty(write_part)
    page, table = tmp_path / "check.html", tmp_path / "check-table"
    assert main(["check", str(folder), "--size", "320", "--page", str(page), "--json", str(table)]) == 1
    printed = capsys.readouterr()
    assert "box outside" in printed.out
    assert "has 3 errors" in printed.err
    assert page.stat().st_size > 10_000
    assert '"image_size": 320' in table.read_text()


def test_the_command_is_content_with_warnings(write_part, tmp_path):
    folder = write_part("train", [1], [(0, 1, [10, 10, 20, 20]), (0, 2, [30, 10, 20, 20])])
    assert main(["check", str(folder), "--page", str(tmp_path / "check.html")]) == 0
