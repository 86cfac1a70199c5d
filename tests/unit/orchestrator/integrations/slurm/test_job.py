"""What Slurm says of a job is read as it means it, and nonsense as nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.integrations.slurm.job import SlurmJob, parse_kill_wait, parse_time_left, read_job


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:59\n", 59), ("1:00", 60), ("2:03:04", 7384), ("1-02:03:04", 93784), ("10-00:00:00", 864000), ("7", 7),
        ("UNLIMITED", None), ("INVALID", None), ("NOT_SET", None), ("", None), ("-5", None), ("1:2:3:4", None),
    ],
)  # fmt: skip
def test_the_time_that_is_left(text: str, seconds: float | None) -> None:
    assert parse_time_left(text) == seconds


@given(some.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    left, wait = parse_time_left(text), parse_kill_wait(text)
    assert left is None or left >= 0
    assert wait is None or wait >= 0


def test_the_kill_wait() -> None:
    text = "JobRequeue              = 1\nKillOnBadExit           = 0\nKillWait                = 30 sec\nx = 1\n"
    assert parse_kill_wait(text) == 30
    assert parse_kill_wait("slurm_load_ctl_conf error: Unable to contact slurm controller") is None


def test_a_job_is_read_from_the_environment() -> None:
    assert read_job({}) is None
    assert read_job({"SLURM_JOB_ID": "x"}) is None
    assert read_job({"SLURM_JOB_ID": "7"}) == SlurmJob("7", None, 0, "")
    more = {"SLURM_JOB_END_TIME": "1764245000", "SLURM_RESTART_COUNT": "2", "SLURM_ARRAY_TASK_ID": "3"}
    assert read_job({"SLURM_JOB_ID": "7", **more}) == SlurmJob("7", 1764245000.0, 2, "3")


@pytest.mark.parametrize("end", ["", "0", "soon", "-1", "9" * 40, "1e9"])
def test_an_end_that_is_none_is_not_known(end: str) -> None:
    job = read_job({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": end})
    assert job is not None
    assert job.ends_at is None
