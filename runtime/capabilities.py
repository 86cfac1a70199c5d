"""Name what a host may lack, and what a run loses by it: for the first log lines and for `quiesce doctor`. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final


class Visibility(StrEnum):
    """How much of the processes of this PID namespace can be seen in /proc."""

    FULL = "full"
    RESTRICTED = "restricted"
    """Processes that this user may not trace are hidden (mount option hidepid, or a security module)."""
    FOREIGN = "foreign"
    """The /proc belongs to another PID namespace."""
    NONE = "none"

    @property
    def is_usable(self) -> bool:
        """Return whether pids in this /proc are pids of this namespace."""
        return self in (Visibility.FULL, Visibility.RESTRICTED)


class Missing(StrEnum):
    """A capability that this host lacks. The value is its name for people."""

    PROC = "/proc"
    PROC_OF_OTHERS = "/proc of other users' processes"
    PRCTL = "prctl"
    PIDFD = "pidfd"
    SEALS = "sealed memory"


_LOSSES: Final[dict[Missing, str]] = {
    Missing.PROC: "memory limits do not act, and --heartbeat-timeout goes by signs of life alone",
    Missing.PROC_OF_OTHERS: (
        "a process that changes its user or hides its memory is ended at the end of the run, perhaps not before, and "
        "its name is not known"
    ),
    Missing.PRCTL: (
        "if the supervisor, the guardian and the sentinel are killed at once, executors end only when they notice it"
    ),
    Missing.PIDFD: (
        "if the supervisor and the guardian are killed at once, what agents have detached lives on until the run is "
        "resumed"
    ),
    Missing.SEALS: "an agent that looks for it can write to the interrupt flag and to other executors' signs of life",
}

_LOSSES_WITHOUT_CGROUP: Final[dict[Missing, str]] = {
    Missing.PROC: (
        "what an agent has detached is ended at the end of the run, perhaps not before, and lives on if the guardian "
        "is killed; a resumed run neither waits for a killed supervisor's guardian nor ends what that has left"
    ),
    Missing.PRCTL: "what an agent has detached lives on after the run if neither its environment nor a mark shows it",
}


def losses(missing: Collection[Missing], *, has_cgroup: bool) -> list[str]:
    """Return the consequences of what is missing, one sentence each."""
    tables = [_LOSSES] if has_cgroup else [_LOSSES, _LOSSES_WITHOUT_CGROUP]
    return [table[capability] for capability in missing for table in tables if capability in table]
