"""Settings: from the environment and from flags, or one clear line."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import Settings, add_flags, given_flags


def test_flags_win_over_the_environment_and_it_over_defaults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLOV7_PORT", "1234")
    monkeypatch.setenv("YOLOV7_MODEL_REPOSITORY", "/srv/models")
    settings = Settings.load({"port": "4321"})
    assert (settings.port, settings.model_repository, settings.default_model) == (4321, Path("/srv/models"), "vehicles")


def test_an_unknown_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLOV7_PROT", "1234")
    with pytest.raises(SettingsError, match="unknown setting YOLOV7_PROT"):
        Settings.load({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "http"),
        ("port", "70000"),
        ("precision", "f16"),
        ("body_timeout_s", "0"),
        ("max_pixels", ""),
        ("known_image_interval_s", "inf"),
    ],
)
def test_an_invalid_value_is_one_line_that_names_flag_and_variable(name: str, value: str):
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    text = str(caught.value)
    assert f"--{name.replace('_', '-')} / YOLOV7_{name.upper()}: " in text
    assert repr(value) in text
    assert "\n" not in text


def test_every_setting_is_a_flag_whose_help_names_variable_and_default():
    parser = ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"[YOLOV7_{name.upper()}, default: {field.default}]" in text


def test_only_flags_that_were_written_count():
    parser = ArgumentParser()
    add_flags(parser, ("port", "host"))
    assert given_flags(parser.parse_args(["--port", "99"])) == {"port": "99"}


def test_the_effective_configuration_is_one_line():
    line = Settings.load({"port": "99"}).as_line()
    assert json.loads(line)["port"] == 99
    assert "\n" not in line
