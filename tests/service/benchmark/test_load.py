"""What a step offers, as k6 has it."""

import pytest

from service.benchmark.load import LEAST_IN_FLIGHT, MOST_IN_FLIGHT, Load, in_flight


def test_clients_go_round_in_a_closed_loop():
    load = Load(4, seconds=2.5, warm_up_s=1, timeout_s=3)
    scenarios = load.scenarios()
    assert scenarios["warm"] == {
        "executor": "constant-vus", "vus": 4, "duration": "1000ms", "exec": "warm", "gracefulStop": "1000ms",
    }  # fmt: skip
    assert scenarios["measured"]["startTime"] == "2000ms"
    assert scenarios["measured"]["duration"] == "2500ms"
    assert scenarios["measured"]["gracefulStop"] == "6000ms"
    assert load.lasts_s == 4.5


def test_a_rate_is_an_open_loop_with_room_for_so_many():
    measured = Load(20, rate=12.34, seconds=2).scenarios()["measured"]
    assert measured["executor"] == "constant-arrival-rate"
    assert (measured["rate"], measured["timeUnit"]) == (1234, "100s")
    assert measured["preAllocatedVUs"] == measured["maxVUs"] == 20


def test_without_a_warm_up_it_begins_at_once():
    load = Load(1, seconds=2, warm_up_s=0)
    assert set(load.scenarios()) == {"measured"}
    assert load.scenarios()["measured"]["startTime"] == "0ms"
    assert load.lasts_s == 2


def test_names_are_for_people():
    assert [Load(1).name, Load(4).name, Load(9, rate=12.5).name] == ["1 client", "4 clients", "12.5/s"]


@pytest.mark.parametrize(("rate", "most"), [(0.5, LEAST_IN_FLIGHT), (40.0, 80), (1e6, MOST_IN_FLIGHT)])
def test_what_may_be_in_flight_is_bounded(rate, most):
    assert in_flight(rate) == most
