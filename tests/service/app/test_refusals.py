"""What stops the start although each setting by itself is fine, in a line that repeats no secret."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.access import new_key
from service.app import Service
from service.errors import StartError
from service.settings import Settings

TRITON = {"engine": "triton", "workers": 2}


def test_keys_with_rates_are_refused_to_workers_that_cannot_count_together(
    make_settings: Callable[..., Settings], tmp_path: Path
):
    file = tmp_path / "keys.toml"
    file.write_text(new_key("door", ["detect"], "20/second")[1])
    with pytest.raises(StartError, match=r"^keys_file: each of several workers would grant a key's rate"):
        Service(make_settings(**TRITON, keys_file=file))
    Service(make_settings(keys_file=file))
    Service(make_settings(**TRITON, keys_file=file, redis_url="redis://127.0.0.1:1", cache_secret="x"))
    file.write_text(new_key("door", ["detect"])[1])
    Service(make_settings(**TRITON, keys_file=file))


@pytest.mark.parametrize(
    "endpoint",
    ["http://me:hush/hush@collector", "me:hush@collector", "http://me:hush@collector:x", "http://hush\u2100@c"],
)
def test_a_trace_endpoint_that_is_no_url_is_not_repeated(make_settings: Callable[..., Settings], endpoint: str):
    with pytest.raises(StartError) as caught:
        Service(make_settings(trace_endpoint=endpoint))
    assert str(caught.value) == "trace_endpoint: it must be a URL such as http://collector:4318"
