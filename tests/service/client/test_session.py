import pytest

from service.client.errors import ServiceFailed, ServiceUnavailable
from service.client.frames import Frame
from service.client.results import FrameFailed, FrameResult, FramesDropped
from service.client.session import MOST_RANGES, Session
from service.streams.wire import detection_pb2 as pb


def opened(delivery: str, credit: int = 0) -> Session:
    session = Session(delivery)
    assert session.receive(pb.StreamResponse(opened=pb.Opened(credits=credit))) == []
    return session


def result(sequence: int) -> pb.StreamResponse:
    return pb.StreamResponse(result=pb.Result(sequence=sequence, width=4, height=2))


def put(session: Session, *sequences: int | None) -> None:
    for sequence in sequences:
        session.put(Frame(b"x", sequence))


def send(session: Session, *sequences: int) -> None:
    """Each is there in time to be sent."""
    for sequence in sequences:
        put(session, sequence)
        assert session.take().sequence == sequence


def test_the_newest_frame_is_sent_and_the_others_are_told_before_its_answer():
    session = opened("latest")
    put(session, 0, 1, 2)
    assert session.take().sequence == 2
    assert not session.wants_sending
    dropped, answer = session.receive(result(2))
    assert dropped == FramesDropped("unsent", 0, 1, 2)
    assert (type(answer), answer.sequence, answer.image_hw) == (FrameResult, 2, (2, 4))


def test_frames_that_were_sent_part_the_ranges_of_those_that_were_not():
    session = opened("latest")
    for pair in ((0, 1), (2, 3), (4, 5)):
        put(session, *pair)
        session.take()
    outcomes = session.receive(pb.StreamResponse(dropped=pb.Dropped(reason="REPLACED", first=1, last=3, count=2)))
    assert outcomes == [
        FramesDropped("unsent", 0, 0, 1), FramesDropped("unsent", 2, 2, 1), FramesDropped("replaced", 1, 3, 2)
    ]  # fmt: skip
    assert [one.first for one in session.receive(result(5))[:1]] == [4]


def test_the_ranges_are_bounded():
    session = opened("latest")
    for sequence in range(0, 4 * MOST_RANGES, 2):
        put(session, sequence, sequence + 1)
        session.take()
    told = session.receive(result(4 * MOST_RANGES - 1))[:-1]
    assert len(told) == MOST_RANGES
    assert sum(one.count for one in told) == 2 * MOST_RANGES


def test_every_reads_a_frame_for_each_credit_and_one_at_a_time():
    session = Session("every")
    assert not session.wants_frame
    session.receive(pb.StreamResponse(opened=pb.Opened(credits=2)))
    put(session, None)
    assert not session.wants_frame  # one waits to be sent
    session.take()
    send(session, 1)
    assert not session.wants_frame  # no credit
    session.receive(result(0))
    assert session.wants_frame


def test_a_frame_that_failed_gives_its_credit_back():
    session = opened("every", 1)
    send(session, 0)
    error = pb.FrameError(sequence=0, captured_at=5.0, kind="undecodable-image", message="no")
    assert session.receive(pb.StreamResponse(error=error)) == [FrameFailed(0, 5.0, "undecodable-image", "no")]
    assert session.wants_frame


def test_numbers_go_on_from_the_last():
    session = opened("latest")
    put(session, 7, None)
    assert session.take().sequence == 8


def test_numbers_that_do_not_rise_are_refused():
    session = opened("latest")
    put(session, 7)
    with pytest.raises(ValueError, match="7 came after 7"):
        put(session, 7)


def test_the_last_frame_is_sent_before_the_end():
    session = opened("latest")
    put(session, 0)
    session.end()
    assert not session.wants_frame
    assert session.take().sequence == 0
    assert session.take() is None
    session.receive(result(0))
    assert session.failure() is None


def test_nothing_is_sent_once_the_service_closes():
    session = opened("every", 4)
    send(session, 0)
    put(session, 1)
    session.receive(pb.StreamResponse(closing=pb.Closing(retry_after=2.0)))
    assert session.take() is None
    session.receive(result(0))
    session.end()
    failure = session.failure()
    assert isinstance(failure, ServiceUnavailable)
    assert failure.retry_after_s == 2.0


def test_a_frame_that_the_closing_service_no_longer_read_is_missed():
    session = opened("every", 4)
    send(session, 0)
    session.end()
    session.receive(pb.StreamResponse(closing=pb.Closing(retry_after=1.0)))
    assert isinstance(session.failure(), ServiceUnavailable)


def test_who_stops_since_the_service_closes_has_not_come_to_the_end():
    session = opened("latest")
    send(session, 0)
    session.receive(result(0))
    session.receive(pb.StreamResponse(closing=pb.Closing(retry_after=1.0)))
    session.end()
    assert isinstance(session.failure(), ServiceUnavailable)


def test_an_end_that_nobody_asked_for_is_a_failure():
    session = opened("latest")
    send(session, 0)
    session.receive(result(0))
    assert isinstance(session.failure(), ServiceFailed)


def test_what_a_later_version_says_is_passed_over():
    session = opened("latest")
    assert session.receive(pb.StreamResponse()) == []
    unknown = pb.StreamResponse(dropped=pb.Dropped(reason=99, first=1, last=1, count=1))
    assert session.receive(unknown) == [FramesDropped("unknown", 1, 1, 1)]


def test_frames_that_were_dropped_together_are_all_answered():
    session = opened("latest")
    send(session, 0, 1, 2)
    session.end()
    session.receive(pb.StreamResponse(dropped=pb.Dropped(reason="STALE", first=0, last=2, count=3)))
    assert session.failure() is None
