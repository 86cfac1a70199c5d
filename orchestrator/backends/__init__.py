"""Where processes are started is behind a small protocol, so that a cluster can take the local machine's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.ipc.guardian_protocol import Report
from runtime.model import InterruptSignal
from runtime.process.tree import ProcessorUse


@dataclass(frozen=True, slots=True)
class Channels:
    """The supervisor's ends of one executor's pipes, as file descriptors, and the key in their frames (wire.py)."""

    tasks: int
    control: int
    events: int
    stdout: int
    stderr: int
    key: int = 0


class Backend(Protocol):
    """Starts executors, raises the flag, signals, watches. Nothing here blocks for long."""

    @property
    def token(self) -> str:
        """By what the processes of the run are known on their host; empty where they are not."""
        ...

    def open(self) -> None:
        """Make ready to start executors."""
        ...

    def fileno(self) -> int:
        """Readable when `reports` has something, or at the backend's own death."""
        ...

    def reports(self) -> list[Report] | None:
        """What happened to processes; None when whoever watches them has died."""
        ...

    def flush(self) -> bool:
        """Send the orders that wait for room. Whether some still do: then `fileno` becomes writable when there is."""
        ...

    def silence(self, now: float) -> float:
        """Seconds for which whoever watches the processes has neither answered nor worked. Called again and again."""
        ...

    @property
    def has_executors(self) -> bool:
        """Whether some executor lives, also while nobody reports its end."""
        ...

    def start(self, slot: int, incarnation: int) -> Channels:
        """Start an executor. Raises OSError when the host has no process or descriptor left for it."""
        ...

    def terminate(self, slot: int, incarnation: int) -> None:
        """SIGTERM and SIGCONT to an executor, which writes its Python stacks to its standard error before."""
        ...

    def kill_tree(self, slot: int, incarnation: int) -> None:
        """SIGKILL to an executor and all its descendants."""
        ...

    def raise_flag(self, signal: InterruptSignal) -> None:
        """Raise every slot's flag and wake whoever sleeps."""
        ...

    def publish_next_rung(self, at: float | None) -> None:
        """Tell the executors when the next rung comes (monotonic seconds)."""
        ...

    def set_graces(self, grace: float, term_grace: float) -> None:
        """How long executors are given, in seconds, should the supervisor die."""
        ...

    def progress(self, slot: int) -> tuple[int, float, float]:
        """The task that a slot has in hand, since when, the last sign of life (monotonic)."""
        ...

    def suspend(self) -> None:
        """Stop every process of the run (SIGSTOP); told as the report Halted."""
        ...

    def resume(self) -> None:
        """Continue what `halt` has stopped."""
        ...

    def processor_use(self, pid: int) -> ProcessorUse | None:
        """Return what an executor's process has used of the processor; None if the host does not say."""
        ...

    def dump_stacks(self, slot: int) -> None:
        """Have an executor write its Python stacks to its standard error."""
        ...

    def ensure_running(self) -> None:
        """Continue whoever watches the processes, should somebody have stopped it. Called again and again."""
        ...

    def sweep(self, until: float) -> None:
        """Look for whatever is left and end it, waiting `until` then (monotonic seconds); a Swept report comes."""
        ...

    def kill_by_run_token(self, known: Sequence[str]) -> tuple[list[str], list[str]]:
        """After the sweep: kill what still carries the run's id. What was found, and what could not be ended.

        `known`: what the sweep itself could not end, and so is not waited for again.
        """
        ...

    def discard_guardian(self, until: float) -> tuple[list[str], list[str]]:
        """Whoever watched the processes has died, or does not answer: make an end of them, so `open` can start anew.

        They are waited for `until` then (monotonic seconds). In words: what was found, and what could not be ended.
        """
        ...

    def close(self) -> None:
        """Let go of everything. Safe at any time, and twice."""
        ...
