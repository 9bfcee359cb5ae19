"""What is noted of a request, without any span."""

from service.tracing import Trace


def make_trace() -> Trace:
    return Trace(span=None, name="POST", epoch_ns=1_000, waiting={})


def noted(trace: Trace) -> list[tuple[str, float, float]]:
    return [(stage.name, stage.started_at, stage.ended_at) for stage in trace.stages]


def test_moments_are_of_one_clock():
    trace = make_trace()
    assert trace.at_ns(0.0) == 1_000
    assert trace.at_ns(2.0) == 2_000_001_000


def test_durations_are_laid_end_to_end_before_a_moment():
    trace = make_trace()
    trace.stages_until(10.0, {"decode": 2.0, "preprocess": 1.0})
    assert noted(trace) == [("decode", 7.0, 9.0), ("preprocess", 9.0, 10.0)]


def test_words_of_ours_get_our_prefix():
    trace = make_trace()
    trace.note({"cache": "miss"})
    assert trace.attributes == {"yolov7.cache": "miss"}


def test_a_queue_is_over_once():
    trace, payload = make_trace(), object()
    trace.waits_with(payload)
    trace.batched(payload, float("inf"))
    trace.batched(payload, float("inf"))
    assert [stage.name for stage in trace.stages] == ["queue"]


def test_several_payloads_wait_each_for_itself():
    trace, one, two = make_trace(), object(), object()
    trace.waits_with(one)
    trace.waits_with(two)
    trace.batched(one, float("inf"))
    trace.leaves(one)
    assert trace.waiting == {id(two): trace}
    trace.end(float("inf"))
    assert len(trace.stages) == 2
    assert not trace.waiting


def test_what_has_ended_waits_for_nothing():
    trace = make_trace()
    trace.end(1.0)
    trace.waits_with(object())
    assert not trace.waiting
