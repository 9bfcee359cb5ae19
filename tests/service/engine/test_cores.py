"""How many cores there are to use, from what the system tells."""

import os
from pathlib import Path

import pytest

from service.engine.cores import core_quota, usable_cores


@pytest.mark.parametrize(
    ("told", "cores"),
    [("400000 100000\n", 4), ("250000 100000\n", 3), ("10000 100000\n", 1), ("max 100000\n", None), ("", None)],
)
def test_a_limit_is_rounded_up_to_whole_cores(told: str, cores: int | None, tmp_path: Path):
    (tmp_path / "cpu.max").write_text(told)
    assert core_quota(tmp_path / "cpu.max") == cores


def test_without_a_container_there_is_no_limit(tmp_path: Path):
    assert core_quota(tmp_path / "cpu.max") is None


def test_there_are_no_more_than_may_be_scheduled_on_or_than_the_limit_is_worth():
    scheduled = len(os.sched_getaffinity(0))
    assert usable_cores() == min(scheduled, core_quota() or scheduled)
