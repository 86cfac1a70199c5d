"""Ask Slurm for the limits of the job of this process. Each command may take two seconds (host_command.py)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from orchestrator.integrations.host_command import ask_host
from orchestrator.integrations.slurm.job import (
    DEFAULT_KILL_WAIT,
    SlurmJob,
    parse_kill_wait,
    parse_time_left,
    read_job,
)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """A job and its limits. `seconds_left`: until its time limit, None if there is none or it is not known.

    `kill_wait`: seconds between Slurm's SIGTERM and SIGKILL.
    """

    job: SlurmJob
    seconds_left: float | None
    kill_wait: float


def current_job() -> JobLimits | None:
    """Return the job of this process; None if it is none of Slurm's. Blocks for a few seconds at most."""
    job = read_job(os.environ)
    if job is None:
        return None
    if job.ends_at is not None:
        left: float | None = max(0.0, job.ends_at - time.time())
    else:
        left = parse_time_left(ask_host("squeue", "-h", "-j", job.id, "-o", "%L"))
    return JobLimits(job, left, parse_kill_wait(ask_host("scontrol", "show", "config")) or DEFAULT_KILL_WAIT)
