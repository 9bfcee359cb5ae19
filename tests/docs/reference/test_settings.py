"""docs/reference/settings.md has every setting, and what it says of each is so."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.probe import own_url
from service.settings import Settings, choices
from training.evaluate.endpoint import read_key

NAMES = list(Settings.model_fields)
# Another value than the default, where more than its type says what it may be.
OTHER = {
    "tls_certificate": "a.pem",
    "tls_key": "a.key",
    "cache_secret": "hush",
    "redis_url": "redis://other",
    "rate": "7/second",
    "anonymous_rate": "7/second",
    "formats": "PNG",
    "triton_urls": "other:1",
    "allowed_origins": "https://other.example",
}
# What some cannot be without.
BESIDE = {
    "tls_certificate": {"tls_key": "a.key"},
    "tls_key": {"tls_certificate": "a.pem"},
    "redis_url": {"cache_secret": "hush"},
    "workers": {"engine": "triton"},
}
FILES = {"cache_secret_file": "hush", "redis_url_file": "redis://other"}


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each setting's row, by variable."""
    found = re.findall(r"^\| `(YOLOV7_[A-Z_]+)` \| (`--.*) \|$", text, re.MULTILINE)
    return {variable: rest.split(" | ") for variable, rest in found}


def other(name: str) -> str:
    """A value that is not the default."""
    default = Settings.model_fields[name].default
    if name in OTHER:
        return OTHER[name]
    if choices(name):
        return next(choice for choice in choices(name) if choice != str(default).lower())
    return str(default + 1) if isinstance(default, int | float) else "other"


def put(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"YOLOV7_{name.upper()}", value)


def test_every_setting_is_there_in_the_order_of_the_code(page: Callable[[str], str]):
    found = rows(page("settings.md"))
    assert list(found) == [f"YOLOV7_{name.upper()}" for name in NAMES]
    for name, (flag, takes, default, meaning) in zip(NAMES, found.values(), strict=True):
        assert flag == f"`--{name.replace('_', '-')}`"
        assert all((takes, default, meaning.strip())), name


def test_every_group_begins_with_a_setting():
    from settings_page import GROUPS

    assert set(GROUPS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_on_the_page_is_the_default(name: str, page: Callable[[str], str], monkeypatch: pytest.MonkeyPatch):
    default = rows(page("settings.md"))[f"YOLOV7_{name.upper()}"][2]
    written = default.split("`")[1] if default != "unset" else ""
    put(monkeypatch, {name: written})
    assert Settings.load({}) == Settings.load({name: written} if written else {})
    assert getattr(Settings.load({}), name) == Settings.model_fields[name].default


@pytest.mark.parametrize("name", NAMES)
def test_the_variable_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    value = other(name)
    if name in FILES:
        (tmp_path / "secret").write_text(FILES[name])
        value = str(tmp_path / "secret")
    beside = BESIDE.get(name, {"cache_secret": "hush"} if name == "redis_url_file" else {})
    put(monkeypatch, {name: value} | beside)
    set_ = getattr(Settings.load({}), name)
    assert set_ != Settings.model_fields[name].default
    assert set_ == getattr(Settings.load({name: value}), name)


def test_the_bounds_on_the_page_are_those_that_are_kept(page: Callable[[str], str]):
    for variable, (_, takes, _, _) in rows(page("settings.md")).items():
        if found := re.search(r"(above )?([0-9]+)(?: to ([0-9]+)| or more)?$", takes):
            name = variable.removeprefix("YOLOV7_").lower()
            least = int(found[2])
            for wrong in (least if found[1] else least - 1, int(found[3] or 0) + 1 if found[3] else None):
                if wrong is not None:
                    with pytest.raises(SettingsError, match=variable):
                        Settings.load({name: str(wrong)})


def test_the_other_variables_are_read_where_the_page_says(monkeypatch: pytest.MonkeyPatch):
    from settings_page import OTHERS

    assert list(OTHERS) == [f"YOLOV7_{name}" for name in ("SERVICE_…", "KEY", "PORT", "TLS_CERTIFICATE")]
    put(monkeypatch, {"key": "hush", "port": "9", "tls_certificate": "a.pem"})
    assert read_key(None) == "hush"
    assert own_url() == "https://127.0.0.1:9"
    with pytest.raises(SettingsError, match="YOLOV7_KEY"):
        Settings.load({})
