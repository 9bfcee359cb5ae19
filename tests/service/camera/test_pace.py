import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.camera.backoff import Backoff
from service.camera.pace import Limit, Playing


def taken(limit: Limit, times: list[float]) -> list[float]:
    return [time for time in times if limit.takes(time)]


def test_without_a_limit_every_frame_is_taken():
    assert taken(Limit(None), [0, 0, 0.01]) == [0, 0, 0.01]


@given(st.floats(1, 60), st.floats(1, 60))
def test_the_average_is_kept_and_never_passed(source_fps: float, fps: float):
    times = [index / source_fps for index in range(round(20 * source_fps))]
    count = len(taken(Limit(fps), times))
    expected = min(len(times), 20 * fps)
    assert expected * 0.97 - 2 <= count <= expected * 1.03 + 2


def test_a_gap_is_not_made_up_for():
    assert taken(Limit(1), [0, 10, 10.1, 10.2, 10.9, 11]) == [0, 10, 11]


def test_times_that_jump_back_begin_anew():
    assert taken(Limit(1), [100, 100.5, 0, 0.5, 1]) == [100, 0, 1]


def test_a_file_is_played_at_its_own_speed():
    playing = Playing()
    assert playing.wait_s(0.0, 50.0) == 0
    assert playing.wait_s(0.5, 50.1) == pytest.approx(0.4)
    assert playing.wait_s(1.0, 52.0) == 0


def test_pauses_double_up_to_a_limit_and_begin_anew_after_success():
    backoff = Backoff(first_s=1, longest_s=5, draw=lambda: 1.0)
    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.worked()
    assert backoff.failed() == 1


def test_half_of_a_pause_is_left_to_chance():
    assert Backoff(first_s=1, draw=lambda: 0.0).failed() == 0.5


def test_a_camera_that_is_away_for_weeks_overflows_nothing():
    backoff = Backoff(draw=lambda: 1.0)
    assert [backoff.failed() for _ in range(5000)][-1] == 30
