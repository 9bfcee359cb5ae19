"""Every recipe of the paper's ablations takes one optimiser step, and docs/ablations.md says what it is."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from training import config
from training.config import Config, load_config
from training.losses import Criterion
from training.nets import Variant, build_network, find_variant
from training.nets.ablations import ABLATIONS, scaled
from training.nets.describe import describe_variant
from training.optim import build_optimizer

RECIPES = sorted((Path(config.__file__).parent / "configs" / "ablations").glob("*.toml"))
PAGE = (Path(__file__).parents[2] / "docs" / "ablations.md").read_text(encoding="utf-8")


def variant_of(recipe: Config) -> Variant:
    variant = find_variant(recipe.variant)
    assert variant is not None
    return variant


def narrow(variant: Variant) -> Variant:
    """An eighth of every width: the same graph at a sixtieth of the cost."""
    eighth = Fraction(1, 8)
    rows, aux_rows = (scaled(part, transitions=eighth, blocks=eighth) for part in (variant.rows, variant.aux_rows))
    return replace(variant, rows=rows, aux_rows=aux_rows)


def step(recipe: Config, variant: Variant) -> None:
    """One step on two images of 128 pixels; every parameter must take part."""
    torch.manual_seed(0)
    network = build_network(variant, num_classes=3).train()
    optimizer = build_optimizer(network, recipe.optimizer, batch_size=2)
    criterion = Criterion(
        recipe.loss, num_classes=3, strides=network.strides, anchors_px=network.anchors, image_size=128
    )
    outputs = network(torch.rand(2, 3, 128, 128))
    assert len(outputs) == len(network.strides) * (2 if variant.aux_rows else 1)
    targets = torch.tensor([[0, 1, 0.4, 0.5, 0.3, 0.4], [0, 2, 0.7, 0.3, 0.1, 0.2], [1, 0, 0.5, 0.5, 0.8, 0.9]])
    terms = criterion(outputs, targets, (128, 128))
    torch.autograd.backward(torch.stack([criterion.weights[name] * term for name, term in terms.items()]).sum())
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer.step()
    assert not all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_takes_a_step_at_an_eighth_of_its_width(path: Path) -> None:
    recipe = load_config(path)
    step(recipe, narrow(variant_of(recipe)))


@pytest.mark.long
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_takes_a_step_at_full_width(path: Path) -> None:
    recipe = load_config(path)
    step(recipe, variant_of(recipe))


def test_every_network_of_the_ablations_has_a_recipe() -> None:
    assert set(ABLATIONS) <= {load_config(path).variant for path in RECIPES}


def test_no_two_recipes_are_the_same() -> None:
    resolved = [load_config(path) for path in RECIPES]
    assert len({repr(recipe) for recipe in resolved}) == len(RECIPES)


def test_the_page_lists_every_recipe() -> None:
    assert set(re.findall(r"\| `(table\d-[a-z0-9-]+)`", PAGE)) == {path.stem for path in RECIPES}


@pytest.mark.long
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_page_states_the_sizes_that_are_counted(path: Path) -> None:
    size = describe_variant(variant_of(load_config(path)))
    (row,) = (line for line in PAGE.splitlines() if line.startswith("|") and f"`{path.stem}`" in line)
    counted = f"| {size.deploy_fused.parameters / 1e6:.2f} M | {size.deploy_fused.gflops_with_bias:.1f} |"
    assert counted in row
    assert f"| {size.training.parameters / 1e6:.2f} M |" in row
