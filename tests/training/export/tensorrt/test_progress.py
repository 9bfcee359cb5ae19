"""What TensorRT tells of its phases, as bars."""

import io

import pytest
from rich.console import Console

from training.export.tensorrt.progress import BuildProgress


@pytest.fixture
def progress() -> BuildProgress:
    return BuildProgress(Console(file=io.StringIO()))


def test_phases_come_count_and_go(progress: BuildProgress) -> None:
    with progress:
        progress.phase_start("Building Engine", None, 4)
        progress.phase_start("Tactics", "Building Engine", 200)
        assert progress.step_complete("Tactics", 9)
        assert progress.phases == {"Building Engine": (0, 4), "Tactics": (10, 200)}
        progress.phase_finish("Tactics")
        assert progress.phases == {"Building Engine": (0, 4)}


def test_an_interrupt_ends_the_build_at_the_next_step(progress: BuildProgress) -> None:
    progress.phase_start("Tactics", None, 10)
    assert progress.step_complete("Tactics", 0)
    progress.interrupt()
    assert not progress.step_complete("Tactics", 1)


def test_phases_that_were_never_told_of_do_no_harm(progress: BuildProgress) -> None:
    progress.phase_finish("Tactics")
    assert progress.step_complete("Tactics", 1)
