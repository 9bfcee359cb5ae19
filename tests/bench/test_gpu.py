"""The measurement of GPUs, tried on the CPU with the smallest network: what it runs, keeps, skips and says."""

import json
from dataclasses import replace
from pathlib import Path

import gpu
import pytest
import torch
from gpu_cases import Case, Menu, plan
from gpu_engines import EagerEngine, References, build_engine
from gpu_network import narrowed, pictures, settled_model
from gpu_pictures import PictureRounds
from gpu_results import Results, as_markdown, row_of
from roofline import Roof

from service.vision.detections import Candidates
from service.vision.image import decode
from service.vision.nms import nms
from training.nets import VARIANTS, DeployModel

CPU = torch.device("cpu")
TINY = Case("tiny", (64, 64), 1, "fp32", "eager")
FEW = ["--device", "cpu", "--variants", "tiny", "--batches", "1", "2", "--rounds", "1", "--seconds", "0.01"]
SMALL = ["--picture", "160x120"]


@pytest.fixture(scope="module")
def tiny() -> DeployModel:
    return settled_model(VARIANTS["tiny"], TINY.shape_hw, CPU)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of a shape that the network takes and of one that it cannot take."""
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    gpu.main([*FEW, *SMALL, "--shapes", "64x64", "70x70", "--out", str(path)])
    return path


def test_every_row_says_what_it_includes(measured: Path):
    rows = json.loads(measured.read_text())["rows"].values()
    done = [row for row in rows if "ms" in row]
    found = {(row["scope"], row["batch"], row["precision"]) for row in done}
    assert found == {("engine", batch, name) for batch in (1, 2) for name in ("fp32", "bf16")} | {
        ("pictures", batch, "fp32") for batch in (1, 2)
    }
    assert all(("no NMS" in row["includes"]) == (row["scope"] == "engine") for row in done)
    assert all(row["ms"] > 0 and row["lone_ms"] > 0 and row["score_error"] < 0.1 for row in done)


def test_what_cannot_run_takes_only_its_own_row_along(measured: Path):
    results = Results.load(measured)
    failed = [row for row in results.rows.values() if "error" in row]
    assert {row["shape"] for row in failed} == {"70x70"}
    assert not results.has(replace(TINY, shape_hw=(70, 70)))
    assert "RuntimeError" in as_markdown(results)


def test_a_second_call_goes_on_where_the_first_one_stopped(measured: Path, tmp_path: Path, capsys):
    path = tmp_path / "gpu.json"
    path.write_text(measured.read_text())
    gpu.main([*FEW, *SMALL, "--shapes", "64x64", "--batches", "1", "2", "3", "--scopes", "engine", "--out", str(path)])
    before, after = (json.loads(file.read_text())["rows"] for file in (measured, path))
    assert {row["batch"] for key, row in after.items() if key not in before} == {3}
    assert all(after[key] == row for key, row in before.items() if row["scope"] == "pictures")
    assert "batch 1 of all" not in capsys.readouterr().err


def test_without_time_nothing_is_begun(tmp_path: Path, capsys):
    path = tmp_path / "gpu.json"
    gpu.main([*FEW, "--shapes", "64x64", "--budget-s", "0", "--out", str(path)])
    assert "out of time" in capsys.readouterr().err
    assert not path.exists()


def test_figures_of_two_cards_do_not_mix(measured: Path):
    with pytest.raises(SystemExit, match="figures of CPU, this is NVIDIA H100"):
        Results.go_on(measured, {"name": "NVIDIA H100 80GB HBM3"})


def test_what_matters_most_comes_first_and_nothing_comes_twice():
    menu = Menu(list(VARIANTS), (1, 32, 8, 16, 64), ("fp16", "fp32"), ("graph", "eager"))
    blocks = list(plan(menu))
    assert [case.variant for block in blocks[:2] for case in block.cases] == list(VARIANTS)
    assert {case.batch for block in blocks[:2] for case in block.cases} == {1}
    titles = list(dict.fromkeys(block.title for block in blocks))
    assert titles[:3] == ["batch 1 of all", "larger batches", "end to end"]
    engines = {case for block in blocks for case in block.cases if case.scope == "engine"}
    shapes = sum(len(menu.shapes_of(name)) for name in VARIANTS)
    assert len([case for case in engines if case.runner == "graph"]) == shapes * 5 * 2
    seen: set[Case] = set()
    for block in blocks:
        assert set(block.cases) - seen, f"{block.title} has nothing new"
        seen.update(block.cases)


def test_the_ratio_to_the_paper_is_of_one_image_alone_at_batch_1_and_of_many_at_32():
    case = Case("v7", (640, 640), 1, "fp16", "graph")
    one = row_of(case, [1.0, 0.5, 9.0], [2.0], None)
    assert one["ms"] == 1.0
    assert one["images_per_second"] == 1000
    assert one["times_the_paper"] == pytest.approx(500 / 161)
    many = row_of(replace(case, batch=32), [16.0], [20.0], None)
    assert many["times_the_paper"] == pytest.approx(2000 / (1000 / 2.8))
    assert "times_the_paper" not in row_of(replace(case, shape_hw=(384, 640)), [1.0], [2.0], None)
    assert "times_the_paper" not in row_of(replace(case, scope="pictures"), [1.0], [2.0], None)


def test_the_share_of_the_roofline_is_the_least_time_over_the_measured():
    """v7 at 640 has 104.5 GFLOPs: 104.5 ms at 1 TFLOP/s, if memory is fast."""
    row = row_of(Case("v7", (640, 640), 1, "fp16", "graph"), [418.0], [418.0], Roof(1.0, 1e6, 2))
    assert row["of_the_roofline"] == pytest.approx(0.25, abs=1e-3)
    assert row["of_the_layers"] == pytest.approx(0.25, abs=1e-3)


def test_settled_weights_keep_scores_apart(tiny: DeployModel):
    engine = build_engine(TINY, tiny, CPU)
    scores = engine.outputs[1][0]
    assert scores[0] > 0.3
    assert scores[-1] < scores[0] - 0.05
    assert torch.isfinite(engine.outputs[0]).all()


def test_narrowing_leaves_anchors_and_the_original_as_they_were(tiny: DeployModel):
    narrow = narrowed(tiny, "bf16", (64, 64))
    assert torch.equal(narrow.network.anchors, tiny.network.anchors)
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in tiny.parameters()} == {torch.float32}
    assert narrow.max_candidates == 3 * (64 + 16 + 4)


def test_an_engine_that_says_something_else_is_seen(tiny: DeployModel):
    references = References(CPU)
    references.learn(TINY, tiny)
    assert references.score_error(TINY, build_engine(TINY, tiny, CPU)) == 0
    other = narrowed(tiny, "fp32", TINY.shape_hw)
    with torch.no_grad():
        next(iter(other.parameters())).mul_(2)
    engine = EagerEngine(other, pictures(1, TINY.shape_hw, CPU), "fp32")
    assert references.score_error(TINY, engine) > 1e-3


def test_pictures_end_as_the_detections_of_the_service(tiny: DeployModel):
    engine = build_engine(replace(TINY, batch=3), tiny, CPU)
    rounds = PictureRounds(engine, (120, 160), CPU, seconds=0.01)
    rounds()
    rounds.close()
    assert len(rounds.found) == 3
    engine.images.copy_(torch.stack([torch.from_numpy(_laid(rounds, index)) for index in range(3)]))
    engine.run()
    for index, found in enumerate(rounds.found):
        candidates = Candidates(*(output[index].numpy() for output in engine.outputs))
        above = candidates.above(rounds.threshold)
        kept = nms(above.boxes, above.scores, 0.45, classes=above.classes)
        assert 0 < len(found) <= len(above)
        assert found.scores[0] == above.scores[kept[0]]


def _laid(rounds: PictureRounds, index: int):
    return rounds.letterbox.apply(decode(rounds.files[index]))
