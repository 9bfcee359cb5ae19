"""Signals: the first is a request, a second Ctrl-C an end, and outside of training they do what they did."""

import signal

import pytest

from training.train.stop import Stopped, StopRequest


def test_a_signal_is_a_request_only():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.number == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_status_is_what_a_shell_reports():
    assert [Stopped("", number).status for number in (signal.SIGTERM, signal.SIGINT)] == [143, 130]
