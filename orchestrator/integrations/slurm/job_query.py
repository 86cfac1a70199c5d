"""Ask Slurm for the limits of the job of this process. Each command may take ASK_SECONDS."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import Final

from orchestrator.integrations.slurm.job import (
    DEFAULT_KILL_WAIT,
    SlurmJob,
    parse_kill_wait,
    parse_time_left,
    read_job,
)

ASK_SECONDS: Final = 2.0
"""Seconds that a command of Slurm may take to answer: its controller may be overloaded, or away."""


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
        left = parse_time_left(_ask("squeue", "-h", "-j", job.id, "-o", "%L"))
    return JobLimits(job, left, parse_kill_wait(_ask("scontrol", "show", "config")) or DEFAULT_KILL_WAIT)


def _ask(*command: str) -> str:
    """Return the output of a command of Slurm; nothing if it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
