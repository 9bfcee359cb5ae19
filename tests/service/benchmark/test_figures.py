"""What is read from k6's summary."""

import pytest

from service.benchmark.figures import Cost, read_summary

COST = Cost(cpu_s=1.0, wall_s=4.0)
LATENCY = {"p(50)": 10.0, "p(90)": 20.0, "p(95)": 25.0, "p(99)": 30.0, "p(99.9)": 40.0, "max": 41.0}


def summary(**metrics):
    return {"metrics": {name: {"values": values} for name, values in metrics.items()}}


def full(ended=7_000.0):
    return summary(
        bench_latency=LATENCY,
        bench_sent={"count": 103},
        bench_status_200={"count": 100},
        bench_status_503={"count": 2},
        bench_status_0={"count": 0},
        bench_status_other={"count": 1},
        bench_began={"min": 1_000.0, "max": 6_900.0, "value": 6_900.0},
        bench_ended={"min": 1_010.0, "max": ended, "value": ended},
    ) | {"state": {}}


def test_counts_percentiles_and_the_rate_of_200s():
    figures = read_summary(full(), planned_s=5.0, cost=COST)
    assert figures.statuses == {"200": 100, "503": 2, "other": 1}
    assert figures.latency_ms == {"p50": 10, "p90": 20, "p95": 25, "p99": 30, "p99.9": 40, "max": 41}
    assert figures.seconds == 6.0
    assert figures.per_second == pytest.approx(100 / 6)
    assert figures.cost.cores == 0.25


def test_answers_that_came_early_do_not_make_a_step_shorter_unless_it_was_cut():
    assert read_summary(full(ended=3_000.0), planned_s=5.0, cost=COST).seconds == 5.0
    assert read_summary(full(ended=3_000.0), planned_s=5.0, cost=COST, cut=True).seconds == 2.0


def test_dropped_requests_are_those_of_what_was_measured():
    document = full()
    document["metrics"]["dropped_iterations"] = {"values": {"count": 50}}
    document["metrics"]["dropped_iterations{scenario:measured}"] = {"values": {"count": 22}}
    figures = read_summary(document, planned_s=5.0, cost=COST)
    assert figures.dropped == 22
    assert figures.share == 100 / 125


def test_a_step_without_any_answer_has_no_percentiles():
    document = summary(bench_sent={"count": 3}, bench_status_0={"count": 3}, bench_latency=dict.fromkeys(LATENCY, 0))
    figures = read_summary(document, planned_s=5.0, cost=COST, failure="refused")
    assert figures.statuses == {"no answer": 3}
    assert (figures.latency_ms, figures.per_second, figures.share) == ({}, 0.0, 0.0)
    assert figures.to_dict()["failure"] == "refused"


def test_where_all_were_answered_a_failure_in_the_warm_up_is_not_told():
    assert read_summary(full(), planned_s=5.0, cost=COST, failure="request timeout").failure is None


def test_a_step_that_was_cut_in_its_warm_up_is_empty():
    figures = read_summary(summary(), planned_s=5.0, cost=Cost(0.0, 0.0), cut=True)
    assert (figures.sent, figures.per_second, figures.share, figures.cost.cores) == (0, 0.0, 0.0, 0.0)
