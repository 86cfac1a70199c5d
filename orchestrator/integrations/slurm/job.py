"""Read what Slurm says of a job: its environment, and the answers of its commands. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DEFAULT_KILL_WAIT: Final = 30.0
"""Seconds between SIGTERM and SIGKILL where slurm.conf(5) sets no KillWait."""

WARNINGS: Final = ("USR1", "USR2")
"""Signals that users have Slurm send before a time limit (sbatch(1), --signal)."""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """The job that this process belongs to. `ends_at`: its time limit (Unix seconds), None if that is not known.

    `restarts`: how often Slurm has requeued it. `array_task`: its number in a job array, or nothing.
    """

    id: str
    ends_at: float | None
    restarts: int
    array_task: str


def read_job(environment: Mapping[str, str]) -> SlurmJob | None:
    """Return the job of this environment; None if it is not a job's. A number that is none counts as not given."""
    number = environment.get("SLURM_JOB_ID", "")
    if not number.isascii() or not number.isdigit():
        return None
    return SlurmJob(
        number,
        _number(environment.get("SLURM_JOB_END_TIME", "")) or None,
        int(_number(environment.get("SLURM_RESTART_COUNT", "")) or 0),
        environment.get("SLURM_ARRAY_TASK_ID", ""),
    )


def parse_time_left(text: str) -> float | None:
    """Return the seconds of `squeue -o %L`, like `1-02:03:04` or `4:05`.

    None for a job without a limit or over it, and for other text.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text.strip(), re.ASCII)
    if found is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_kill_wait(text: str) -> float | None:
    """Return the KillWait of `scontrol show config`, in seconds; None if it is not there."""
    found = re.search(r"^KillWait\s*=\s*(\d+)\s*sec", text, re.MULTILINE | re.ASCII)
    return None if found is None else float(found[1])


def _number(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 18 else None
