"""Starting from other weights, and leaving parts of them as they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, ConfigError
from training.data import CocoDataset
from training.nets import VARIANTS, Network, build_network, to_deploy
from training.train import train
from training.train.start import make_network, start
from training.train.transfer import freeze, read_source, rest_frozen_norms, transfer


@pytest.fixture
def network() -> Network:
    return build_network(VARIANTS["tiny"], num_classes=2)


def given(network: Network, names: tuple[str, ...] = ("a", "b")) -> Checkpoint:
    return Checkpoint("tiny", network.form, names, state=network.state_dict())


def test_a_head_for_other_classes_starts_fresh_and_is_named(network: Network, caplog: pytest.LogCaptureFixture):
    before = network.head.lead[0].conv.bias.clone()
    other = build_network(VARIANTS["tiny"], num_classes=5)
    fresh = transfer(network, given(other))
    assert {name.split(".")[0] for name in fresh} == {"head"}
    assert "head.lead.0.conv.weight (30x128x1x1 there, 21x128x1x1 here)" in caplog.text
    assert torch.equal(network.head.lead[0].conv.bias, before)
    assert torch.equal(network.state_dict()["rows.stem1.conv.weight"], other.state_dict()["rows.stem1.conv.weight"])


def test_official_weights_are_taken_but_for_the_head(shared_golden: Path, network: Network):
    source = read_source(shared_golden / "official-format-tiny-train.pt")
    fresh = transfer(network, source)
    assert len(fresh) == 9  # weight, bias and the multiplied vector of three levels
    assert torch.equal(network.state_dict()["rows.lead3.conv.weight"], source.weights["rows.lead3.conv.weight"])


def test_a_deploy_heads_convolutions_are_taken(network: Network):
    deploy = build_network(VARIANTS["tiny"], num_classes=2, form="deploy")
    fresh = transfer(network, given(deploy))
    assert all(name.endswith(".implicit") for name in fresh)
    assert torch.equal(network.head.lead[1].conv.weight, deploy.head.lead[1].weight)


def test_weights_of_which_nothing_fits_are_refused(network: Network):
    source = given(network)
    foreign = replace(source, state={name: value.flatten()[:1] for name, value in source.state.items()})
    with pytest.raises(CheckpointError, match="no convolution is alike"):
        transfer(network, foreign)


def test_a_file_that_is_neither_says_why(tmp_path: Path):
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"x\.pt: .*; nor an official file"):
        read_source(tmp_path / "x.pt")


def test_entries_are_those_of_the_references_graph():
    """Its v7 freezes 50 for the backbone, which is what comes before the SPPCSPC at 51."""
    network = build_network(VARIANTS["v7"], num_classes=1)
    frozen = freeze(network, entries=51, names=())
    left = next(name for name, parameter in network.named_parameters() if parameter.requires_grad)
    assert network.official_keys()[frozen[-1]].startswith("model.50.")
    assert network.official_keys()[left].startswith("model.51.")


def test_what_is_frozen_does_not_move_and_all_else_does(config: Config, squares: CocoDataset, tmp_path: Path):
    config = replace(config, epochs=1, freeze=28, freeze_names=("*.implicit",))
    before = start(config, squares.class_names, tmp_path / "probe", batches=2)
    kept = {name: value.clone() for name, value in before.network.state_dict().items()}
    source = Checkpoint("tiny", "training", squares.class_names, state=kept)
    source.save(tmp_path / "start.pt")
    train(config, squares, val_set=squares, folder=tmp_path / "run", weights=tmp_path / "start.pt")
    after = Checkpoint.load(tmp_path / "run" / "last.pt").state
    official = before.network.official_keys()
    moved = {official[name] for name, value in kept.items() if not torch.equal(after[name], value)}
    assert min(int(name.split(".")[1]) for name in moved) == 28
    assert not any("anchor" in name or ".ia." in name or ".im." in name for name in moved)
    assert {name for name in official.values() if name.startswith("model.77.m.")} <= moved


def test_patterns_that_match_nothing_and_too_much_are_refused(network: Network):
    with pytest.raises(ConfigError, match=r"no parameter is called 'backbone\*'"):
        freeze(network, entries=0, names=("backbone*",))
    with pytest.raises(ConfigError, match="nothing to learn"):
        freeze(network, entries=0, names=("*",))


def test_an_entry_without_parameters_may_be_frozen(config: Config, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "training")
    with torch.device("meta"):
        network = make_network(replace(config, variant="w6", freeze=1), num_classes=2)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert caplog.messages == ["frozen: 0 parameters"]


def test_weights_are_read_when_a_run_begins_and_never_again(config: Config, network: Network, tmp_path: Path):
    given(network).save(tmp_path / "start.pt")
    start(config, ("a", "b"), tmp_path / "run", batches=2, weights=tmp_path / "start.pt").keep_position()
    (tmp_path / "start.pt").unlink()
    run = start(config, ("a", "b"), tmp_path / "run", batches=2, weights=tmp_path / "start.pt")
    assert torch.equal(run.network.state_dict()["rows.stem1.conv.weight"], network.rows["stem1"].conv.weight)


def test_only_frozen_normalisations_rest(network: Network):
    freeze(network, entries=1, names=())
    rest_frozen_norms(network.train())
    norms = [module.training for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms[0] is False
    assert all(norms[1:])
    assert to_deploy(network)
