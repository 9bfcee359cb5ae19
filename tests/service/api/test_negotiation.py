"""Which answer an Accept header chooses, and what Cache-Control allows."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.negotiation import CACHE_STATUS, JSON, OFFERED, choose_caching, choose_media_type
from service.detector import CacheResult
from service.errors import NotAcceptable

QUALITIES = st.sampled_from(["", ";q=0", ";q=0.0", ";q=0.000", ";q=0.001", ";q=0.5", "; Q=1", ";q=1.000", ";q=many"])
RANGES = st.sampled_from([*OFFERED, "*/*", "image/*", "application/*", "text/html", "IMAGE/JPEG", "image/avif"])
ACCEPT = st.lists(st.tuples(RANGES, QUALITIES).map("".join), min_size=1, max_size=6).map(", ".join)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("  ", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json;charset=utf-8", JSON),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("Image/WebP", "image/webp"),
        ("image/*, image/jpeg;q=0", "image/png"),
        ("*/*, application/json;q=0", "image/jpeg"),
        ("*/*;q=0.1, image/webp", "image/webp"),
        ("application/json;q=0.4, image/png;q=0.5", "image/png"),
        ("image/png;q=0.4, application/json;q=0.5", JSON),
        ("image/png, application/json", JSON),
        ("text/html, image/*;q=0.9, */*;q=0.8", "image/jpeg"),
        ("*/*, image/png", "image/png"),
        ("image/png;level=1;q=0.3, image/webp;q=0.2", "image/png"),
        ("image/avif,,image/png", "image/png"),
    ],
)
def test_the_best_quality_wins_then_the_more_specific_then_our_order(accept: str, chosen: str):
    assert choose_media_type(accept) == chosen


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/avif", "application/json;q=0", "*/*;q=0", "image/png;q=much", "image/png;q=nan",
     "image/png;q=inf", "image/png;q=-1", "image/png;q=2", "image/png;q=", "json", ",", "*"],
)  # fmt: skip
def test_what_leaves_out_every_answer_is_refused_with_those_there_are(accept: str):
    with pytest.raises(NotAcceptable) as caught:
        choose_media_type(accept)
    assert all(offer in str(caught.value) for offer in OFFERED)


def test_a_long_header_is_not_echoed_whole():
    with pytest.raises(NotAcceptable) as caught:
        choose_media_type("text/html," * 5000)
    assert len(str(caught.value)) < 400


@given(ACCEPT)
def test_nothing_is_chosen_that_was_given_quality_0(accept: str):
    try:
        chosen = choose_media_type(accept)
    except NotAcceptable:
        assert not any(quality_of(accept, offer) for offer in OFFERED)
    else:
        assert quality_of(accept, chosen) == max(quality_of(accept, offer) for offer in OFFERED) > 0


def quality_of(accept: str, offer: str) -> float:
    """What the most specific range says of one type; a range repeated counts as its kindest."""
    items = [item.lower().replace(" ", "").partition(";q=") for item in accept.split(",")]
    for name in (offer, f"{offer.split('/', maxsplit=1)[0]}/*", "*/*"):
        found = [0.0 if text == "many" else float(text or 1) for given, _, text in items if given == name]
        if found:
            return max(found)
    return 0.0


@pytest.mark.parametrize(
    ("header", "caching"),
    [
        ("", "use"),
        ("max-age=60", "use"),
        ("no-cache", "refresh"),
        ("max-age=0", "refresh"),
        ("No-Cache , max-age=0", "refresh"),
        ("no-store", "off"),
        ("no-cache, no-store", "off"),
    ],
)
def test_cache_control(header: str, caching: str):
    assert choose_caching(header) == caching


def test_every_way_a_look_up_ends_has_a_status():
    assert set(CACHE_STATUS) == set(get_args(CacheResult))
    assert all(status.startswith("yolov7-service; ") for status in CACHE_STATUS.values())
