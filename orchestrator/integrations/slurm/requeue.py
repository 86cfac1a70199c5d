"""Have Slurm start the job of this process again, after an interrupt that leaves work."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from orchestrator.integrations.slurm.job import read_job

REQUEUE_SECONDS: Final = 5.0
"""Seconds that `scontrol requeue` may take."""


def requeue_job(limit: int) -> str | None:
    """Requeue the job, unless Slurm has restarted it `limit` times. Return what went wrong, or what was not done.

    Slurm ends this process then, if it is not over by itself. Does nothing outside of a job.
    """
    job = read_job(os.environ)
    if job is None or limit <= 0:
        return None
    if job.restarts >= limit:
        return f"job {job.id} was restarted {job.restarts} times: it is not requeued again (--slurm-requeue {limit})"
    try:
        done = subprocess.run(
            ("scontrol", "requeue", job.id),  # noqa: S607 - where a cluster has it, PATH says
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=REQUEUE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job.id} cannot be requeued: {error}"
    said = done.stderr.decode(errors="replace").strip()
    return None if done.returncode == 0 else f"job {job.id} cannot be requeued: {said or done.returncode}"
