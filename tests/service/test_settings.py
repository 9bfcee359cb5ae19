"""Settings: from the environment, from flags and from files, or one clear line that repeats no secret."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import Settings, add_flags, given_flags, written

SECRETS = ("cache_secret", "redis_url")


def refused(**given: str) -> str:
    """The line that these flags stop the start with."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flags_win_over_the_environment_and_it_over_defaults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLOV7_PORT", "1234")
    monkeypatch.setenv("YOLOV7_MODEL_REPOSITORY", "/srv/models")
    settings = Settings.load({"port": "4321"})
    assert (settings.port, settings.model_repository, settings.default_model) == (4321, Path("/srv/models"), "vehicles")


def test_an_unknown_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLOV7_PROT", "1234")
    assert refused().startswith("unknown setting YOLOV7_PROT")


@pytest.mark.parametrize(
    "link", ["PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8000_TCP", "PORT_8000_TCP_ADDR"]
)
def test_what_kubernetes_says_of_a_service_of_our_name_is_no_setting(link: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"YOLOV7_SERVICE_{link}", "tcp://10.0.0.1:8000")
    assert Settings.load({}).port == 8000
    assert not [name for name in Settings.model_fields if name.startswith("service")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "http"),
        ("port", "70000"),
        ("precision", "f16"),
        ("engine", "tensorrt"),
        ("log_format", "xml"),
        ("workers", "0"),
        ("body_timeout_s", "0"),
        ("max_pixels", ""),
        ("known_image_interval_s", "inf"),
        ("rate", "often"),
        ("rate", "1/second, 20/minute"),
        ("rate", ""),
        ("anonymous_rate", "0/second"),
        ("formats", "JPG"),
    ],
)
def test_an_invalid_value_is_one_line_that_names_flag_and_variable(name: str, value: str):
    text = refused(**{name: value})
    assert text.startswith(f"--{name.replace('_', '-')} / YOLOV7_{name.upper()}: ")
    assert text.count(repr(value)) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", "http", "must be a valid integer (got 'http')"),
        ("port", "70000", "must be less than or equal to 65535 (got '70000')"),
        ("body_timeout_s", "soon", "must be a valid number (got 'soon')"),
        ("grpc", "maybe", "must be a valid boolean (got 'maybe')"),
        ("engine", "tensorrt", "must be 'embedded' or 'triton' (got 'tensorrt')"),
        ("cache_secret", "", "must not be empty"),
    ],
)
def test_what_a_value_must_be_is_said_in_few_words(name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch):
    said = f"--{name.replace('_', '-')} / YOLOV7_{name.upper()}: {words}"
    assert refused(**{name: value}) == said
    if value:  # an empty variable is none
        monkeypatch.setenv(f"YOLOV7_{name.upper()}", value)
        assert refused() == said


def test_all_findings_are_told_in_one_line():
    text = refused(port="http", rate="often")
    assert "--port / YOLOV7_PORT: " in text
    assert "--rate / YOLOV7_RATE: " in text


@pytest.mark.parametrize(("names", "unknown"), [("JPEG,HEIC", "HEIC"), ("jpeg, svg", "svg"), ("JPEG,", ""), ("", "")])
def test_an_unknown_format_is_named_beside_those_there_are(names: str, unknown: str):
    assert f"{unknown!r}; there are BMP, GIF, JPEG, PNG, TIFF, WEBP" in refused(formats=names)


def test_formats_are_taken_in_any_case():
    assert Settings.load({"formats": "jpeg, Png"}).formats == "jpeg, Png"


def test_several_processes_need_an_engine_that_they_can_share():
    assert "workers: " in refused(workers="2")
    assert Settings.load({"workers": "2", "engine": "triton"}).workers == 2


@pytest.mark.parametrize("name", ["rate", "anonymous_rate"])
def test_several_processes_count_rates_in_redis_or_not_at_all(name: str):
    several = {"workers": "2", "engine": "triton", name: "20/second"}
    assert (
        refused(**several) == f"{name}: each of several workers would grant it; they need redis_url to count together"
    )
    assert Settings.load(several | {"redis_url": "redis://h", "cache_secret": "x"}).workers == 2
    assert Settings.load({name: "20/second"}).workers == 1


@pytest.mark.parametrize(
    "urls",
    [
        "",
        "triton:8001,",
        ",triton:8001",
        "triton",
        "triton:",
        ":8001",
        "triton:0",
        "triton:65536",
        "triton:grpc",
        "unix:",
        "::1:8001",
        "a b:8001",
        "triton:8001 other:8001",
        "me:hush-hush@triton:8001",
    ],
)
def test_what_is_no_address_of_a_triton_is_refused(urls: str):
    text = refused(triton_urls=urls)
    assert text.startswith("--triton-urls / YOLOV7_TRITON_URLS: ")
    assert text.endswith(" is no address such as host:port or unix:/path")
    assert "hush" not in text


@pytest.mark.parametrize("urls", ["http://triton:8000", "triton:8001,grpc://me:hush-hush@other:8001"])
def test_a_triton_address_with_a_scheme_is_refused_and_not_repeated(urls: str):
    text = "a gRPC address has no scheme: host:port, such as triton:8001, or unix:/path"
    assert refused(triton_urls=urls) == f"--triton-urls / YOLOV7_TRITON_URLS: {text}"


@pytest.mark.parametrize(
    "urls", ["triton:8001", "10.0.0.1:8001, a-b.c.example:65535", "[::1]:8001", "unix:/run/triton"]
)
def test_every_kind_of_triton_address_is_taken(urls: str):
    assert Settings.load({"triton_urls": urls}).triton_urls == urls


def test_redis_needs_a_secret():
    assert refused(redis_url="redis://localhost").startswith("cache_secret: needed with redis_url")
    assert Settings.load({"redis_url": "redis://localhost", "cache_secret": "x"}).redis_url is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hush-hush@host",
        "me:hush-hush@host:6379",
        "redis://me:hush-hush@host:port",
        "redis://me:hush-hush@[::1",
        "redis://host?password=hush-hush&socket_timeout=soon",
        "redis://host?hush-hush=1",
        "",
    ],
)
def test_a_bad_redis_url_is_refused_and_not_repeated(url: str):
    text = refused(redis_url=url, cache_secret="x")
    assert text == ("--redis-url / YOLOV7_REDIS_URL: it must be like redis://host:6379/0, rediss://… or unix:///path")


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://me:pw@h:7/1", "unix:///run/redis", "redis://h?socket_timeout=1"]
)
def test_every_kind_of_redis_url_is_taken(url: str):
    settings = Settings.load({"redis_url": url, "cache_secret": "x"})
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_lie_in_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    value = {"cache_secret": "hush-hush", "redis_url": "redis://me:hush-hush@host"}[name]
    (tmp_path / "secret").write_text(f"{value}\n")
    if name == "redis_url":
        monkeypatch.setenv("YOLOV7_CACHE_SECRET", "x")
    by_flag = Settings.load({f"{name}_file": str(tmp_path / "secret")})
    monkeypatch.setenv(f"YOLOV7_{name.upper()}_FILE", str(tmp_path / "secret"))
    for settings in (by_flag, Settings.load({})):
        assert getattr(settings, name).get_secret_value() == value
        assert "hush-hush" not in settings.as_line() + repr(settings)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secrets_file_that_cannot_be_read_is_named(name: str, tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "binary"):
        text = refused(**{f"{name}_file": str(path)})
        assert text.startswith(f"--{name.replace('_', '-')}-file: {path} cannot be read: ")


def test_an_empty_secret_is_refused(tmp_path: Path):
    (tmp_path / "empty").write_text("\n")
    for given in ({"cache_secret": ""}, {"cache_secret_file": str(tmp_path / "empty")}):
        assert refused(**given).startswith("--cache-secret / YOLOV7_CACHE_SECRET: ")


def test_a_secret_given_twice_is_refused_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "secret").write_text("hush-hush")
    expected = "cache_secret is given twice: as it is, and as cache_secret_file"
    assert refused(cache_secret="hush", cache_secret_file=str(tmp_path / "secret")) == expected
    monkeypatch.setenv("YOLOV7_CACHE_SECRET", "hush")
    assert refused(cache_secret_file=str(tmp_path / "secret")) == expected


def test_a_secret_is_not_repeated_where_something_else_is_wrong():
    text = refused(redis_url="redis://me:hush-hush@host", port="http")
    assert "hush" not in text
    assert "hush" not in refused(redis_url="redis://me:hush-hush@host")


def test_every_setting_is_a_flag_whose_help_names_variable_and_default():
    parser = ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"[YOLOV7_{name.upper()}, default: {written(field.default)}]" in text


def test_only_flags_that_were_written_count():
    parser = ArgumentParser()
    add_flags(parser, ("port", "host"))
    assert given_flags(parser.parse_args(["--port", "99"])) == {"port": "99"}


def test_the_effective_configuration_is_one_line_without_secrets():
    line = Settings.load({"port": "99", "redis_url": "redis://me:hush@h", "cache_secret": "hush"}).as_line()
    document = json.loads(line)
    assert set(document) == set(Settings.model_fields)
    assert document["port"] == 99
    assert document["redis_url"] == document["cache_secret"] == "**********"
    assert "\n" not in line
    assert "hush" not in line


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
        ("http://me:hush@collector:4318", "http://**********@collector:4318"),
        ("https://hush@collector", "https://**********@collector"),
        ("http://me:hush/hush@collector", "http://**********@collector"),
        ("me:hush@collector:4318", "**********@collector:4318"),
    ],
)
def test_a_trace_endpoints_password_is_not_shown(endpoint: str, shown: str):
    settings = Settings.load({"trace_endpoint": endpoint})
    assert json.loads(settings.as_line())["trace_endpoint"] == shown
    assert settings.trace_endpoint == endpoint


@pytest.mark.parametrize("origin", ["example.org", "*", "https://a/app", "ftp://a", "https://a:port"])
def test_what_is_no_origin_is_refused(origin: str):
    assert f"{origin!r} is no origin" in refused(allowed_origins=f"https://fine.example,{origin}")
