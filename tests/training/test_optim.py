"""Parameter groups, rates and the moving average, against the reference's numbers and by what they promise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training.config import Optimizer
from training.nets import Implicit
from training.optim import (
    Ema,
    Rates,
    Schedule,
    accumulation,
    build_optimizer,
    limit_gradients,
    parameter_groups,
    scaled_weight_decay,
    set_rates,
)


@pytest.fixture
def schedules(golden: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((golden / "schedules.json").read_text())
    return table


@pytest.fixture
def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), Implicit(2, 1.0))


@pytest.mark.parametrize("final", [0.1, 0.2, 0.01])
def test_cosine_is_the_references(schedules: dict[str, Any], final: float) -> None:
    factors = schedules[f"one_cycle_lrf{final}"]
    schedule = Schedule(Optimizer(final_factor=final), epochs=300, batches_per_epoch=10, batch_size=64)
    assert [schedule.factor(epoch) for epoch in range(len(factors))] == pytest.approx(factors, abs=1e-12)


def test_warmup_is_the_references(schedules: dict[str, Any]) -> None:
    schedule = Schedule(Optimizer(), epochs=300, batches_per_epoch=3697, batch_size=32)
    for row in schedules["warmup_nb3697_batch32_lr0.01_lrf0.1"]:
        now = schedule.at(row["ni"])
        weights, bias = row["lr_weights"], row["lr_bias"]
        assert now.learning_rates == pytest.approx((weights, weights, bias), rel=1e-9)
        assert (now.momentum, now.accumulate) == pytest.approx((row["momentum"], row["accumulate"]))


def test_after_warmup_all_groups_share_the_cosine() -> None:
    schedule = Schedule(Optimizer(), epochs=10, batches_per_epoch=1000, batch_size=16)
    rate = 0.01 * schedule.factor(5)
    now = schedule.at(5500)
    assert (now.learning_rates, now.momentum, now.accumulate) == ((rate, rate, rate), 0.937, 4)


def test_no_jump_where_warmup_ends() -> None:
    schedule = Schedule(Optimizer(), epochs=10, batches_per_epoch=2000, batch_size=8)
    last, first = schedule.at(6000), schedule.at(6001)
    assert last.learning_rates == pytest.approx(first.learning_rates)
    assert last.momentum == pytest.approx(first.momentum)
    assert last.accumulate == first.accumulate == 8


def test_a_recipe_may_do_without_warmup() -> None:
    options = Optimizer(warmup_epochs=0, warmup_min_iterations=0)
    now = Schedule(options, epochs=10, batches_per_epoch=10, batch_size=64).at(0)
    assert (now.learning_rates, now.momentum) == ((0.01, 0.01, 0.01), 0.937)


@pytest.mark.parametrize(("batch", "steps", "decay"), [(128, 1, 1e-3), (32, 2, 5e-4), (16, 4, 5e-4), (24, 3, 5.625e-4)])
def test_decay_follows_the_images_of_a_step(batch: int, steps: int, decay: float) -> None:
    assert accumulation(Optimizer(), batch) == steps
    assert scaled_weight_decay(Optimizer(), batch) == pytest.approx(decay)


def test_groups_share_out_every_parameter_once(network: nn.Sequential) -> None:
    scales, weights, biases = (group["params"] for group in parameter_groups(network, 0.1))
    conv, norm, head, implicit = network
    expected = [[norm.weight, implicit.implicit], [conv.weight, head.weight], [norm.bias, head.bias]]
    assert [[id(p) for p in group] for group in (scales, weights, biases)] == [[id(p) for p in g] for g in expected]


def test_only_convolution_weights_decay(network: nn.Sequential) -> None:
    optimizer = build_optimizer(network, Optimizer(), batch_size=128)
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {"scales": 0, "weights": 0.001, "biases": 0}
    assert all(group["nesterov"] and group["momentum"] == 0.937 for group in optimizer.param_groups)


def test_averages_decay_is_the_references(schedules: dict[str, Any], network: nn.Sequential) -> None:
    ema = Ema(network, decay=0.9999, tau=2000)
    decays = {updates: ema.decay_at(int(updates)) for updates in schedules["ema_decay"]}
    assert decays == pytest.approx(schedules["ema_decay"], rel=1e-12)


def test_average_moves_by_one_minus_decay(network: nn.Sequential) -> None:
    ema = Ema(network, decay=0.9, tau=1.0)
    before = {key: value.clone() for key, value in ema.state.items()}
    for parameter in network.parameters():
        parameter.data += 1
    ema.update(network)
    kept = ema.decay_at(1)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(ema.state[key], (kept * before[key] + (1 - kept) * value).to(value.dtype))


def test_average_covers_batchnorm_statistics_and_copies_counters(network: nn.Sequential) -> None:
    ema = Ema(network, decay=0.9, tau=1.0)
    network[:3](torch.randn(8, 3, 2, 2) + 5)
    ema.update(network)
    assert ema.state["1.num_batches_tracked"] == network[1].num_batches_tracked == 1
    assert 0 < ema.state["1.running_mean"].abs().max() < network[1].running_mean.abs().max()


def test_average_takes_no_gradient_and_stays_in_evaluation_mode(network: nn.Sequential) -> None:
    ema = Ema(network.train(), decay=0.9, tau=1.0)
    assert not ema.network.training
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())


def test_a_resumed_average_goes_on_where_it_was(network: nn.Sequential) -> None:
    first, second = Ema(network, decay=0.9, tau=5.0), Ema(network, decay=0.9, tau=5.0)
    for parameter in network.parameters():
        parameter.data += 1
    first.update(network)
    second.load_state_dict(first.state_dict())
    first.update(network)
    second.update(network)
    assert second.updates == 2
    torch.testing.assert_close(second.state, first.state)


def test_adamw_has_the_same_groups_and_warms_its_biases_up_from_nothing(network: nn.Sequential) -> None:
    options = Optimizer(kind="adamw", learning_rate=0.001)
    optimizer = build_optimizer(network, options, batch_size=64)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 5e-4, 0]
    schedule = Schedule(options, epochs=10, batches_per_epoch=1000, batch_size=64)
    assert schedule.at(0).learning_rates == (0, 0, 0)
    set_rates(optimizer, schedule.at(5000))
    assert {group["betas"] for group in optimizer.param_groups} == {(0.937, 0.999)}
    assert {group["lr"] for group in optimizer.param_groups} == {0.001 * schedule.factor(5)}


def test_sgd_is_given_rates_and_momentum(network: nn.Sequential) -> None:
    optimizer = build_optimizer(network, Optimizer(), batch_size=64)
    set_rates(optimizer, Rates((0.1, 0.2, 0.3), 0.85, 1))
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [
        (0.1, 0.85),
        (0.2, 0.85),
        (0.3, 0.85),
    ]


@pytest.mark.parametrize(("limit", "kept"), [(0.0, 5.0), (10.0, 5.0), (2.5, 2.5)])
def test_gradients_are_shortened_together(limit: float, kept: float) -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    for parameter, gradient in zip(parameters, (3.0, 4.0, None), strict=True):
        parameter.grad = None if gradient is None else torch.tensor([gradient])
    assert limit_gradients(parameters, limit) == pytest.approx(5.0)
    assert parameters[0].grad == pytest.approx(3.0 * kept / 5, rel=1e-5)
    assert parameters[1].grad == pytest.approx(4.0 * kept / 5, rel=1e-5)
