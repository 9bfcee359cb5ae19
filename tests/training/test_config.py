"""Recipes: what is read, what is refused, what survives a round trip."""

from pathlib import Path

import pytest

from training import config
from training.config import Config, ConfigError, config_from_dict, config_to_dict, load_config

RECIPES = sorted((Path(config.__file__).parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_resolves_and_survives_a_round_trip(recipe: Path):
    resolved = load_config(recipe)
    assert config_from_dict(config_to_dict(resolved)) == resolved


def test_tiny_recipe_is_the_papers_row():
    tiny = load_config(next(path for path in RECIPES if path.stem == "tiny"))
    assert (tiny.loss.classification, tiny.loss.objectness, tiny.optimizer.final_factor) == (0.5, 1.0, 0.01)
    assert (tiny.augmentation.translate, tiny.augmentation.scale, tiny.augmentation.mixup) == (0.1, 0.5, 0.05)


def test_p6_recipe_is_the_papers_row():
    p6, p5 = (load_config(path) for name in ("p6", "p5") for path in RECIPES if path.stem == name)
    assert (p6.variant, p6.image_size, p6.optimizer.final_factor) == ("w6", 1280, 0.2)
    assert (p6.loss, p6.augmentation) == (p5.loss, p5.augmentation)


def test_p5_recipe_is_the_default():
    assert load_config(next(path for path in RECIPES if path.stem == "p5")) == Config()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'"),
        ({"optimizer": {"lr": 0.1}}, "unknown key 'optimizer.lr'"),
        ({"epochs": "many"}, "epochs must be int"),
        ({"epochs": True}, "epochs must be int"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"image_size": 400}, "multiple of 32"),
        ({"seed": -1}, "seed must not be negative"),
        ({"optimizer": {"nominal_batch": 0}}, "nominal_batch must be at least 1"),
        ({"optimizer": {"ema_tau": 0}}, "ema_tau must be above 0"),
        ({"augmentation": {"stretch": [2, 1]}}, "stretch must rise"),
        ({"augmentation": {"scale": 1.5}}, "scale must be at least 0 and below 1"),
        ({"precision": "int8"}, "must be one of fp32, bf16, fp16"),
        ({"optimizer": {"clip_norm": -1}}, "clip_norm must not be negative"),
        ({"optimizer": {"momentum": 0}}, "momentum must be above 0 and below 1"),
        ({"optimizer": {"learning_rate": 0}}, "learning_rate must be above 0"),
        ({"optimizer": {"weight_decay": -0.1}}, "weight_decay must not be negative"),
        ({"loss": {"anchor_threshold": 1}}, "anchor_threshold must be above 1"),
        ({"optimizer": {"kind": "adam"}}, "must be one of sgd, adamw"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be at least 1"),
        ({"freeze_names": "*"}, "freeze_names must be a list"),
        ({"freeze_names": ["*", 3]}, r"freeze_names\[1\] must be str"),
        ({"anchors": [[1, 2], [3, 0]]}, "anchors must have sides above 0"),
        ({"loss": 3}, "loss must be a table"),
        ({"augmentation": {"stretch": [1.0]}}, "2 numbers"),
    ],
)
def test_what_no_run_could_use_is_refused_with_its_name(table: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(table)


def test_overrides_win_over_the_file(tmp_path: Path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epochs = 7\n[optimizer]\nmomentum = 0.9\n")
    resolved = load_config(recipe, {"optimizer.momentum": 0.8, "loss.box": 1})
    assert (resolved.epochs, resolved.optimizer.momentum, resolved.loss.box) == (7, 0.8, 1.0)


def test_an_override_below_a_plain_value_is_refused(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("epochs = 7\n")
    with pytest.raises(ConfigError, match=r"unknown key 'epochs.many': epochs is no table"):
        load_config(tmp_path / "mine.toml", {"epochs.many": 3})


@pytest.mark.parametrize("content", [b"epochs = = 3", b"variant = '\xff'"])
def test_a_recipe_that_is_no_toml_names_the_file(content: bytes, tmp_path: Path):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_config(tmp_path / "bad.toml")
