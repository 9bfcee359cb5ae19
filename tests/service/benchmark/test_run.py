"""The steps of a run, where what answers is a curve."""

import pytest

from service.benchmark.load import Load
from service.benchmark.run import Run


class Curve:
    """A service with so many places, each of which takes 10 ms: what is offered beyond waits, then finds no room."""

    def __init__(self, make_figures, capacity=100.0):
        self._make, self._capacity = make_figures, capacity
        self.offered = []

    def __call__(self, load):
        self.offered.append(load)
        rate = load.rate or 100.0 * load.clients
        answered = round(min(rate, self._capacity) * load.seconds)
        dropped = round(max(rate - self._capacity, 0.0) * load.seconds) if load.rate else 0
        waiting = 1 + 10 * (rate / self._capacity) ** 8
        return self._make(answered, ms=10 * waiting, seconds=load.seconds, dropped=dropped)


@pytest.fixture
def curve(make_figures):
    return Curve(make_figures)


def test_each_load_is_a_step(curve):
    run = Run(curve)
    run.measure([Load(1), Load(2)])
    assert [step.load for step in run.steps] == [Load(1), Load(2)]
    assert (run.knee, run.cut, run.dead) == (None, False, False)


def test_the_knee_lies_below_what_the_service_can_do(make_figures):
    run = Run(Curve(make_figures, capacity=1000.0))
    run.find_knee(Load(7, seconds=5), p99_ms=None, steps=12)
    assert run.steps[0].load == Load(1, seconds=5)
    assert run.knee.objective.p99_ms == pytest.approx(50, rel=0.01)
    assert run.knee.step.broken_by is None
    assert 850 < run.knee.step.load.rate < 900  # p99 of 50 ms
    assert run.knee.above.load.rate / run.knee.step.load.rate < 1.06


def test_an_objective_that_is_given_counts(make_figures):
    run = Run(Curve(make_figures, capacity=1000.0))
    run.find_knee(Load(1), p99_ms=20.0, steps=12)
    assert 700 < run.knee.step.load.rate < 760
    assert "p99" in run.knee.above.broken_by


def test_no_more_rates_are_tried_than_allowed(curve):
    run = Run(curve)
    run.find_knee(Load(1), p99_ms=1e9, steps=3)
    assert len({load.rate for load in curve.offered}) == 1 + 3


def test_a_rate_that_was_late_is_offered_again_and_one_that_was_refused_is_not(make_figures):
    def busy_once(load):
        offered.append(load.rate)
        if load.rate == 160:
            return make_figures(100, sent=160, dropped=60)
        return make_figures(80, ms=500 if offered == [None, 40, 80] else 10)

    offered = []
    run = Run(busy_once)
    run.find_knee(Load(1), p99_ms=50, steps=3)
    assert offered == [None, 40, 80, 80, 160]
    assert run.knee.step.load.rate == 80
    assert run.steps[2].broken_by == "p99 500 ms is above 50 ms"


def test_nothing_holds_an_objective_that_cannot_be_met(curve):
    run = Run(curve)
    run.find_knee(Load(1), p99_ms=1.0, steps=3)
    assert run.knee.step is None
    assert run.knee.above.load.rate == min(load.rate for load in curve.offered[1:])


def test_a_step_that_was_cut_is_the_last_and_is_kept(make_figures):
    run = Run(lambda load: make_figures(5, cut=True))
    run.measure([Load(1), Load(2)])
    assert len(run.steps) == 1
    assert run.cut


def test_a_step_that_was_cut_before_anything_was_sent_is_no_step(make_figures):
    run = Run(lambda load: make_figures(0, cut=True))
    run.measure([Load(1), Load(2)])
    assert (run.steps, run.cut) == ([], True)


def test_a_signal_between_steps_ends_the_run(curve):
    def interrupted(load):
        if load.clients == 2:
            raise KeyboardInterrupt
        return curve(load)

    run = Run(interrupted)
    run.measure([Load(1), Load(2), Load(3)])
    assert len(run.steps) == 1
    assert run.cut


def test_a_service_that_answers_nothing_is_not_asked_further(make_figures):
    run = Run(lambda load: make_figures(0, sent=9, statuses={"no answer": 9}))
    run.find_knee(Load(1), p99_ms=None, steps=5)
    assert len(run.steps) == 1
    assert run.dead
    assert run.knee is None


def test_a_rate_at_which_nothing_is_answered_any_more_lies_above_the_knee(make_figures):
    def falls_over(load):
        if (load.rate or 0) > 50:
            return make_figures(0, sent=9, statuses={"no answer": 9})
        return make_figures(100)

    run = Run(falls_over)
    run.find_knee(Load(1), p99_ms=50, steps=9)
    assert run.dead
    assert run.knee.step.load.rate == 50
    assert (run.knee.above.load.rate, run.knee.above.broken_by) == (100, "9 of 9 requests ended in no answer")


def test_a_search_that_was_cut_knows_no_rate_above(make_figures):
    run = Run(lambda load: make_figures(100, cut=(load.rate or 0) > 50))
    run.find_knee(Load(1), p99_ms=50, steps=9)
    assert run.cut
    assert (run.knee.step.load.rate, run.knee.above) == (50, None)


def test_a_rate_at_which_one_request_was_refused_gets_no_second_chance(make_figures):
    def refuses_once(load):
        offered.append(load.rate)
        return make_figures(999, sent=1000, statuses={"200": 999, "503": 1}) if len(offered) == 2 else make_figures(100)

    offered = []
    run = Run(refuses_once)
    run.find_knee(Load(1), p99_ms=50, steps=1)
    assert len(offered) == 2
    assert (run.knee.step, run.knee.above) == (None, run.steps[1])
