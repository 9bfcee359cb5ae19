import pytest

from training.nets import VARIANTS, Variant
from training.nets.describe import describe_variant

# Parameters of the training, fused training, deploy and fused deploy graph; GFLOPs of the training, deploy and fused
# deploy graph's convolutions, and of the last one's with biases. Measured on the reference.
TABLE = {
    "tiny": (6_228_762, 6_221_370, 6_227_101, 6_219_709, 13.701, 13.701, 13.701, 13.745),
    "tiny-silu": (6_228_762, 6_221_370, 6_227_101, 6_219_709, 13.701, 13.701, 13.701, 13.745),
    "v7": (37_622_682, 36_907_898, 37_620_125, 36_905_341, 105.769, 105.769, 104.511, 104.685),
    "x": (71_347_394, 71_314_746, 71_344_389, 71_311_741, 189.674, 189.674, 189.674, 189.904),
    "w6": (82_312_436, 82_277_300, 70_426_236, 70_394_300, 420.113, 359.717, 359.717, 360.157),
    "e6": (111_898_292, 111_851_380, 97_246_652, 97_202_940, 588.092, 514.426, 514.426, 515.123),
    "d6": (154_709_364, 154_652_532, 133_810_044, 133_757_052, 806.063, 701.738, 701.738, 702.582),
    "e6e": (166_408_884, 166_335_860, 151_757_244, 151_687_420, 915.851, 842.184, 842.184, 843.240),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_counts_are_the_references_and_the_papers(name: str) -> None:
    size = describe_variant(VARIANTS[name])
    graphs = (size.training, size.training_fused, size.deploy, size.deploy_fused)
    gflops = (size.training.gflops, size.deploy.gflops, size.deploy_fused.gflops, size.deploy_fused.gflops_with_bias)
    assert tuple(graph.parameters for graph in graphs) == TABLE[name][:4]
    assert tuple(round(value, 3) for value in gflops) == TABLE[name][4:]
    paper = VARIANTS[name].paper
    assert round(size.as_in_paper.parameters / 1e6, 1) == paper.params_m
    assert size.as_in_paper.gflops_with_bias == pytest.approx(paper.gflops, abs=0.21)


def test_fewer_classes_make_a_smaller_head(toy: Variant) -> None:
    saved = describe_variant(toy).deploy.parameters - describe_variant(toy, num_classes=5).deploy.parameters
    assert saved == 3 * 75 * (16 + 16 + 2)
