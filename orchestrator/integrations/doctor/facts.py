"""Describe a host, as far as it matters for a run. Pure: records."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.integrations.doctor.parents import Parent
from orchestrator.integrations.systemd.service import ServiceProperties
from runtime.capabilities import Visibility


@dataclass(frozen=True, slots=True)
class Disk:
    """Disk of a journal, found by the nearest directory of its path that exists. `free` in bytes."""

    path: str
    directory: str
    exists: bool
    writable: bool
    kind: str
    free: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Facts about a host. Sizes in bytes; None: no limit, or unknown. `refused`: why the file is not a journal."""

    system: str
    python: tuple[int, int, int]
    executable: str | None
    cgroup: str
    leaf: bool
    kills_cgroups: bool
    subreaper: bool
    pidfd: bool
    memfd: bool
    visibility: Visibility = Visibility.FULL
    files: int | None
    files_hard: int | None
    processes: int | None
    memory: int | None
    pid: int
    parent: str
    ignored: tuple[str, ...]
    service: ServiceProperties | None
    notified: bool
    terminal: bool
    disk: Disk | None
    refused: str = ""
    started_by: Parent | None = None
