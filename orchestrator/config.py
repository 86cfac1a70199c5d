"""The settings that users give: those of the run, with the defaults that depend on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict

from orchestrator.core.checked_record import field
from orchestrator.core.settings import RunSettings, ShortOption
from orchestrator.cpus import usable_cpus
from runtime.limits import MAX_SLOTS


class Settings(RunSettings):
    """Hold the settings of one run. Where `workers` is not given, it is the number of processors that we may use."""

    workers: Annotated[int, ShortOption("-w")] = field(
        default_factory=lambda: min(usable_cpus(), MAX_SLOTS),
        ge=1,
        le=MAX_SLOTS,
        description="Executor processes. (default: one for each usable processor)",
    )


class SettingsOptions(TypedDict, total=False):
    """Parameters of Supervisor that are settings: for type checkers and editors. A test compares it with Settings.

    Those of commands (OF_COMMANDS) are none: a Supervisor has agents.
    """

    workers: int | None
    concurrency: int
    timeout: float | None
    timeout_grace: float | None
    deadline: float | None
    grace: float
    term_grace: float
    undo_timeout: float
    retries: int
    retry_delay: float
    retry_max_delay: float
    retry_jitter: float
    retry_on: Sequence[str | type[BaseException]] | None
    no_retry_on: Sequence[str | type[BaseException]] | None
    oom_retries: int
    max_failures: int | str | None
    memory_limit: int | None
    output_tail: int
    heartbeat_timeout: float | None
    max_tasks_per_executor: int | None
    max_memory_per_executor: int | None
    preempt: bool
    keep_children: bool
    slot_env: Mapping[str, Sequence[object] | str]
    progress_interval: float | None
    host_grace: float | None
    stop_on: Sequence[str] | None
    watch_host: str | None
