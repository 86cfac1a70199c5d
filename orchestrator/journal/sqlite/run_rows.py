"""Convert the few rows of a run that are read column by column to records. Pure."""

from __future__ import annotations

import json
from typing import Final, Literal

import msgspec

from orchestrator.journal.base import Owner, Request, RunRecord, SupervisorRecord
from orchestrator.journal.sqlite.columns import Count, Number, Pid, Stored, Time
from runtime.interrupt_signal import read_signal
from runtime.statuses import ExecutionStatus

PRUNED_PARENT: Final = "quiesce/retries"
"""The label that keeps the id of a removed run in those that retry it: no column has it, and no label of a user."""

_decode_labels = msgspec.json.Decoder(dict[str, str]).decode


class RunRow(Stored, frozen=True):
    """A row of `runs`."""

    id: Number
    run_id: str
    agent: str
    config: str
    cwd: str
    status: ExecutionStatus
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    sealed: Literal[0, 1]
    signal: str | None
    starts: Count
    owner_pid: Pid | None
    owner_host: str | None
    ready: Literal[0, 1]
    parent: Number | None
    labels: str

    def record(self, holder: int | None) -> RunRecord:
        """Return the record. `holder`: the process that holds the run's lock (None: no process, 0: a hidden one)."""
        labels = _decode_labels(self.labels)
        pruned_parent = labels.pop(PRUNED_PARENT, None)
        if "\0" in self.run_id or "\0" in self.cwd:
            raise ValueError("a run's name and directory hold no NUL")
        return RunRecord(
            id=self.id,
            run_id=self.run_id,
            agent=json.loads(self.agent),
            config=json.loads(self.config),
            cwd=self.cwd,
            status=self.status,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            sealed=bool(self.sealed),
            signal=None if self.signal is None else read_signal(self.signal),
            starts=self.starts,
            owner=self._owner(holder),
            parent=self.parent,
            labels=labels,
            pruned_parent=pruned_parent,
        )

    def _owner(self, holder: int | None) -> Owner | None:
        if self.owner_pid is None and holder is None:
            return None
        return Owner(holder or self.owner_pid or 0, self.owner_host or "", alive=holder is not None)


class SupervisorRow(Stored, frozen=True):
    """A row of `supervisors`."""

    token: str
    pid: Pid
    host: str

    def record(self) -> SupervisorRecord:
        """Return the record. Raises ValueError for a token that is no name of a cgroup."""
        if "\0" in self.token or "/" in self.token:
            raise ValueError("a supervisor's token holds no NUL and no slash")
        return SupervisorRecord(self.token, self.pid, self.host)


class RequestRow(Stored, frozen=True):
    """A row of `requests`."""

    id: int
    signal: str
    task: int | None
    key: str | None

    def record(self) -> Request:
        """Return the record."""
        return Request(read_signal(self.signal), self.task, self.key)


class AgentRow(Stored, frozen=True):
    """A row of `agents`."""

    number: Count
    identity: str


class CountsRow(Stored, frozen=True):
    """The tasks of a run, by status."""

    pending: Count
    completed: Count
    failed: Count
    interrupted: Count
