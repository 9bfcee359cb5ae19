import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access import Rate
from service.access.rate import MOST_LIMIT, MOST_WINDOW_S
from service.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/second", Rate(20, 1)),
        ("600/minute", Rate(600, 60)),
        ("100 per 5 minutes", Rate(100, 300)),
        ("1 per day", Rate(1, 86400)),
        (" 7 / 2 hours ", Rate(7, 7200)),
    ],
)
def test_rates_are_read(text, rate):
    assert Rate.parse(text) == rate


@given(limit=st.integers(1, MOST_LIMIT), window_s=st.integers(1, MOST_WINDOW_S))
def test_what_is_written_is_read(limit, window_s):
    assert Rate.parse(str(Rate(limit, window_s))) == Rate(limit, window_s)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        "fast",
        "0/second",
        "-1/second",
        "1/second;5/minute",
        "1/fortnight",
        "1/year",
        "9999999999/second",
        "20/second\nx",
        "1/" + "9" * 30 + "days",
        "x" * 10_000,
    ],
)
def test_nonsense_is_one_short_line(text):
    with pytest.raises(SettingsError) as refusal:
        Rate.parse(text)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 150
