"""The JSON, the table and the chart of a run."""

import io
import json
import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from service.benchmark.knee import Objective
from service.benchmark.load import Load
from service.benchmark.plot import plot
from service.benchmark.report import describe_machine, mask_key, report
from service.benchmark.run import Knee, Run, Step
from service.benchmark.target import Server
from service.benchmark.view import knee_line, table

SERVER = Server("blocks", "1", {"infer": 1.0}, 2, None)


@pytest.fixture
def steps(make_figures):
    broken = make_figures(100, ms=400, statuses={"200": 100, "503": 3}, dropped=4)
    return [
        Step(Load(1), make_figures(50)),
        Step(Load(16, rate=80.0), make_figures(80, ms=20)),
        Step(Load(16, rate=160.0), broken, "3 of 100 requests ended in 503"),
    ]


@pytest.fixture
def knee(steps):
    return Knee(Objective(50.0), steps[1], steps[2])


def printed(table):
    console = Console(width=120, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_the_report_holds_every_figure(steps, knee):
    run = Run(lambda load: None)
    run.steps, run.knee = steps, knee
    document = json.loads(json.dumps(report(run, server=SERVER, about={"command": ["bench"]})))
    assert document["includes"].endswith("inference, NMS, JSON")
    assert [step["loop"] for step in document["steps"]] == ["closed", "open", "open"]
    assert document["knee"]["rate"] == 80
    assert document["knee"]["next_rate"] == 160
    assert document["knee"]["latency_ms"]["p99.9"] == 20
    assert document["server"]["model"] is None


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["cpu"]


@pytest.mark.parametrize(
    ("command", "masked"),
    [
        (["u", "--key", "hush", "x"], ["u", "--key", "***", "x"]),
        (["u", "--key=hush"], ["u", "--key=***"]),
        (["u", "--key-file", "path"], ["u", "--key-file", "path"]),
    ],
)
def test_the_key_is_masked(command, masked):
    assert mask_key(command) == masked


def test_the_table_marks_the_knee_and_counts_what_was_not_answered(steps, knee):
    text = printed(table(steps, knee))
    assert "80/s (knee)" in text
    assert "100 x 200, 3 x 503, 4 dropped" in text


def test_a_table_of_nothing_but_200s_does_not_count_them(steps):
    assert "x 200" not in printed(table(steps[:2], None))


def test_the_knee_is_told_in_a_sentence(steps, knee):
    assert knee_line(knee) == (
        "knee: 80 requests/s held (p99 within 50 ms): p50 20.0 ms, p99 20.0 ms; at 160/s 3 of 100 requests ended in 503"
    )
    assert "may lie higher: the search ended" in knee_line(Knee(Objective(50.0), steps[1], None))
    assert "no rate that was tried held" in knee_line(Knee(Objective(50.0), None, steps[2]))


def test_the_chart_has_a_dot_for_each_rate_and_percentile(steps, knee):
    root = ET.fromstring(plot(steps, knee, "a <title> & more"))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 2 * 3
    assert "knee: 80/s" in texts
    assert "a <title> & more" in texts


def test_dots_lie_within_the_chart_and_slower_is_higher(steps):
    root = ET.fromstring(plot(steps, None, "clients"))
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert all(0 <= x <= 720 and 0 <= y <= 440 for x, y in places)
    assert len({y for _, y in places}) == 3
    assert min(y for _, y in places) == places[2][1]


@pytest.mark.parametrize("answered", [0, 1])
def test_there_is_a_chart_of_hardly_anything(make_figures, answered):
    ET.fromstring(plot([Step(Load(1), make_figures(answered, ms=0.2))], None, "little"))
