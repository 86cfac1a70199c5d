"""The settings of a run: checked once, frozen after. Pure; what depends on the host is in orchestrator/config.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Self

from orchestrator.core.checked_record import CheckedRecord, Converter, FieldError, field
from orchestrator.core.command_settings import check_halt, parse_codes, parse_load, parse_signal
from orchestrator.core.ladder import Ladder
from orchestrator.core.slot_environment import SlotEnv, find_shortage, parse_slot_env
from orchestrator.core.stop_budget import FittedLadder, fit
from runtime.errors import UsageError
from runtime.failure import class_name
from runtime.limits import LARGEST_COUNT, LARGEST_SIZE, LONGEST_SECONDS, MAX_SLOTS, show_value
from runtime.stop_limits import FEW_EXECUTORS, GRACE, KILL_TIMEOUT, SECONDS_PER_EXECUTOR, TERM_GRACE, UNDO_TIMEOUT

SHORTEST_HEARTBEAT_TIMEOUT = 0.5
"""Seconds: a busy host may well keep an executor waiting for a fifth of that, and a heartbeat must not be late then."""

LONGEST_HEARTBEAT = 1.0
"""Seconds between two heartbeats of an executor, at most."""


LONGEST_SAMPLE = 0.25
"""Seconds between two looks at shared memory (time limits, heartbeats, the display), at most."""

LONGEST_IDLE_SAMPLE = 0.5
"""Seconds between two of these looks while no task is executed, at most."""

LONGEST_LAPSE = 1.0
"""How many seconds later than it wanted the supervisor's loop runs again, without having worked, before that counts as
a pause, at most: it was stopped or frozen, and perhaps the whole run was."""


LONGEST_TIMEOUT_GRACE = 5.0
"""Seconds that a task over its timeout has before SIGTERM, at most, where none are given.

A stop is generous because it must not lose work that is nearly finished. A task over its timeout has failed already:
its grace is for its clean-up alone, and its executor does nothing else meanwhile.
"""


class MaxFailures(CheckedRecord):
    """Hold how many failed tasks a run bears: a count, or a share of the tasks that ended (percent)."""

    count: int | None = field(default=None, ge=0, le=LARGEST_COUNT)
    percent: float | None = field(default=None, ge=0, le=100)

    def format(self) -> str:
        """Return the text that `parse` reads."""
        return str(self.count) if self.percent is None else f"{self.percent:g}%"

    @classmethod
    def parse(cls, text: str | int, name: str) -> MaxFailures:
        """Parse `N` or `P%`. Raises UsageError, which calls it by `name`."""
        try:
            limit = str(text).strip()
            if limit.endswith("%"):
                return cls(percent=float(limit[:-1]))
            return cls(count=int(limit))
        except ValueError:
            raise UsageError(f"{name} {show_value(text)} is neither a count nor a percentage like 10%") from None

    def is_exceeded(self, failed: int, ended: int) -> bool:
        """Whether this many failures are too many. A share counts from 20 ended tasks on."""
        if self.count is not None:
            return failed > self.count
        return self.percent is not None and ended >= 20 and failed * 100 > self.percent * ended


def _exception_names(value: object) -> object:
    """Return the names in a text with commas; of a class its name. Raises ValueError for what is no name."""
    if value is None:
        return None
    items = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
    names = [class_name(item) if isinstance(item, type) else str(item).strip() for item in items]
    wrong = next((name for name in names if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name)), None)
    if wrong is not None or not names:
        raise ValueError(f"{wrong!r} is not the name of an exception, like TimeoutError or httpx.HTTPError")
    return tuple(names)


STOP_SIGNALS = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "XCPU", "PWR")
"""Signals that `stop_on` may name. The first three stop a run in any case."""


def _signal_names(value: object) -> object:
    """Return the names of signals in a text with commas, without SIG; `none` is no signal. Raises ValueError."""
    if value is None:
        return None
    items = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
    names = [str(item).strip().upper().removeprefix("SIG") for item in items]
    if names in (["NONE"], []):
        return ()
    wrong = next((item for name, item in zip(names, items, strict=True) if name not in STOP_SIGNALS), None)
    if wrong is not None:
        raise ValueError(f"{str(wrong)!r} cannot stop a run; give some of {', '.join(STOP_SIGNALS)}, or none")
    return tuple(dict.fromkeys(names))


def _host_name(value: object) -> object:
    """Return the name of a cloud in lower case; `off` is None. Raises ValueError."""
    name = value.strip().lower() if isinstance(value, str) else value
    if name in (None, "off", "none", ""):
        return None
    if name not in WATCHED_HOSTS:
        raise ValueError(f"{value!r} is not a host that can be watched; give {', '.join(WATCHED_HOSTS)} or off")
    return name


WATCHED_HOSTS = ("aws", "gcp", "azure", "auto")
"""Values of `watch_host`. `auto` finds out which of the others it is."""


class Unit(Enum):
    """What the value of a setting is."""

    COUNT = "a whole number"
    SECONDS = "a time: `10`, `1.5s`, `2m`, `1h30m`, `30d`"
    BYTES = "a size: bytes, `512M`, `1GiB`"
    FLAG = "`true` or `false`"
    FAILURES = "a count, or a percentage like `10%`"
    SHARE = "a number from 0 to 1"
    NAMES = "names of exceptions, separated by commas"
    SIGNALS = "names of signals, separated by commas, or `none`"
    HOST = "`aws`, `gcp`, `azure`, `auto`, or `off`"
    SLOT_ENV = "`NAME=V0,V1,…`; in the file and in Python values by name"
    SIGNAL = "the name of a signal: `TERM`, `INT`, `USR1`"
    CODES = "exit codes and ranges: `0,1,64-78`"
    LOAD = "a number, or a share of the processors like `90%`"
    HALT = "`now` or `soon`, a comma, `fail`, `success` or `done`, `=`, a count or a percentage"


def _plain(problem: str) -> str:
    """Return what is wrong with a value in the words of the command line, and not of a library that has inputs."""
    if problem.startswith("Input should be a valid integer"):
        return "it must be a whole number"
    return problem.replace(
        "Input should be a valid number, unable to parse string as a number", "it must be a number"
    ).replace("Input should be", "it must be")


@dataclass(frozen=True, slots=True)
class ShortOption:
    """Mark a field that has a short option too."""

    text: str


Bytes = Annotated[int | None, Unit.BYTES]
ExceptionNames = Annotated[Sequence[str] | None, Unit.NAMES, Converter(_exception_names)]

SignalNames = Annotated[Sequence[str] | None, Unit.SIGNALS, Converter(_signal_names)]
HostName = Annotated[str | None, Unit.HOST, Converter(_host_name)]
StopSignal = Annotated[str, Unit.SIGNAL, Converter(parse_signal)]
Codes = Annotated[Sequence[int], Unit.CODES, Converter(parse_codes)]
OptionalCodes = Annotated[Sequence[int] | None, Unit.CODES, Converter(parse_codes)]
Load = Annotated[str | None, Unit.LOAD, Converter(parse_load)]
HaltCondition = Annotated[str | None, Unit.HALT, Converter(check_halt)]

OF_COMMANDS = ("stop_signal", "ok_codes", "retry_codes", "delay", "load", "memfree", "halt", "container_undo")
"""Settings that only runs of commands have (docs/commands.md). Others refuse them."""


class RunSettings(CheckedRecord):
    """Hold the settings of one run. Times in seconds, sizes in bytes; None = no limit.

    This is the one list of settings (orchestrator/setting_list.py): options, environment variables, the configuration
    file, the parameters of Supervisor and docs/settings.md derive from it. A field without a description is internal.

    `host_grace` is what the host grants between its SIGTERM and its SIGKILL. It, and the fields after it, are facts
    about where this supervisor runs, so they are not kept with the run. `host_ends_at`: when the host ends this process
    (monotonic seconds).
    """

    workers: Annotated[int, ShortOption("-w")] = field(ge=1, le=MAX_SLOTS)
    concurrency: int = field(
        default=1, ge=1, le=100_000, description="Tasks of an async agent that each executor runs at once."
    )
    timeout: float | None = field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        description="Seconds that one task may take. One that ignores its interrupt ends later: SIGTERM comes after "
        "--timeout-grace, SIGKILL after --term-grace.",
    )
    timeout_grace: float | None = field(
        default=None,
        ge=0,
        le=LONGEST_SECONDS,
        description="Seconds between a task's timeout and SIGTERM to its executor. (default: the grace, 5 at most)",
    )
    deadline: float | None = field(
        default=None, gt=0, le=LONGEST_SECONDS, description="Seconds that the whole run may take."
    )
    grace: float = field(
        default=GRACE, ge=0, le=LONGEST_SECONDS, description="Seconds between the interrupt flag and SIGTERM."
    )
    term_grace: float = field(
        default=TERM_GRACE, ge=0, le=LONGEST_SECONDS, description="Seconds between SIGTERM and SIGKILL."
    )
    undo_timeout: float = field(
        default=UNDO_TIMEOUT,
        gt=0,
        le=LONGEST_SECONDS,
        description="Seconds that one start of an undo command may take, and that the end of a run that was not "
        "stopped waits for such commands.",
    )
    kill_patience: float = field(default=KILL_TIMEOUT, gt=0, le=LONGEST_SECONDS)
    retries: int = field(default=0, ge=0, le=LARGEST_COUNT, description="How often a failed task is tried again.")
    retry_delay: float = field(
        default=0.2,
        ge=0,
        le=LONGEST_SECONDS,
        description="Seconds before a failed task is tried again; doubled each time.",
    )
    retry_max_delay: float = field(
        default=30.0, ge=0, le=LONGEST_SECONDS, description="Seconds before a retry, at most."
    )
    retry_jitter: Annotated[float, Unit.SHARE] = field(
        default=0.2, ge=0, le=1, description="Share of the delay before a retry that is taken away at random."
    )
    retry_on: ExceptionNames = field(
        default=None,
        description="Retry these exceptions and their subclasses only; `timeout` is the limit. (default: all)",
    )
    no_retry_on: ExceptionNames = field(default=None, description="Do not retry these exceptions and their subclasses.")
    oom_retries: int = field(
        default=1,
        ge=0,
        le=LARGEST_COUNT,
        description="How often a task that ran out of memory is tried again, alone in its executor.",
    )
    max_failures: MaxFailures | None = field(
        default=None, description="Stop the run when more tasks than this have failed."
    )
    memory_limit: Bytes = field(
        default=None, gt=0, le=LARGEST_SIZE, description="Memory that an executor and its children may use."
    )
    output_tail: Annotated[int, Unit.BYTES] = field(
        default=16 << 10,
        ge=0,
        le=LARGEST_SIZE,
        description="Bytes of the end of each task's output that the journal keeps; 0: none.",
    )
    heartbeat_timeout: float | None = field(
        default=60.0,
        ge=SHORTEST_HEARTBEAT_TIMEOUT,
        le=LONGEST_SECONDS,
        description="Seconds (0.5 or more) without a heartbeat or use of the processor before an executor is replaced.",
    )
    max_tasks_per_executor: int | None = field(
        default=None, ge=1, le=LARGEST_COUNT, description="Replace an executor after it has executed this many tasks."
    )
    max_memory_per_executor: Bytes = field(
        default=None,
        gt=0,
        le=LARGEST_SIZE,
        description="Replace an executor, between two tasks, once it and its children hold this much memory.",
    )
    crash_limit: int = field(default=3, ge=1, le=LARGEST_COUNT)
    preempt: bool = field(
        default=False, description="Let a more urgent task interrupt a less urgent one, which continues later."
    )
    keep_children: bool = field(default=False, description="Do not end the processes that an executor leaves behind.")
    stop_signal: StopSignal = field(
        default="TERM", description="Of commands: the signal to a command's process group when a stop begins."
    )
    ok_codes: Codes = field(default=(0,), description="Of commands: exit codes that mean success.")
    retry_codes: OptionalCodes = field(
        default=None,
        description="Of commands: exit codes that --retries tries again; 128 + n for signal n. (default: all others)",
    )
    container_undo: bool = field(
        default=True,
        description="Of commands: name and label the container of `docker run` and `podman run`, and remove it at the "
        "end of its task (docs/undo.md).",
    )
    delay: float = field(
        default=0.0, ge=0, le=LONGEST_SECONDS, description="Of commands: seconds between the starts of two commands."
    )
    load: Load = field(
        default=None, description="Of commands: start none while so many processes of the host run or want to."
    )
    memfree: Bytes = field(
        default=None, gt=0, le=LARGEST_SIZE, description="Of commands: start none while the host has less free memory."
    )
    halt: HaltCondition = field(
        default=None,
        description="Of commands: stop the run at so many failures, successes or ends; `soon` waits for what runs. "
        "(default: never)",
    )
    progress_interval: float | None = field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        exclude=True,
        description="Seconds between two lines of progress, where there is no live display. (default: 10)",
    )
    slot_env: Annotated[SlotEnv, Unit.SLOT_ENV, Converter(parse_slot_env)] = field(
        default_factory=dict,
        description="An environment variable with one value for each slot, such as a GPU; repeatable. (default: none)",
    )
    host_grace: float | None = field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        exclude=True,
        description="Seconds between the host's SIGTERM and SIGKILL; the graces shrink to fit. "
        "(default: systemd and Slurm are asked)",
    )
    stop_on: SignalNames = field(
        default=None,
        exclude=True,
        description="Signals that stop the run, besides INT, TERM and HUP. (default: USR1,USR2 in a job of Slurm, "
        "else none)",
    )
    watch_host: HostName = field(
        default=None,
        exclude=True,
        description="Ask this cloud whether it takes the machine away, and stop the run in time. (default: off)",
    )
    host_ends_at: float | None = field(default=None, exclude=True)

    @classmethod
    def from_options(cls, **chosen: Any) -> Self:
        """Make settings of options. Raises UsageError, one line that names the option and what is wrong with it."""
        for name, value in chosen.items():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation is not bool:
                raise UsageError(f"{name} = {value}: it must be a number")
        try:
            settings = cls(**chosen)
        except FieldError as error:
            raise UsageError(f"{error.name} = {show_value(error.value)}: {_plain(error.problem)}") from None
        shortage = find_shortage(settings.slot_env, settings.workers)
        if shortage is not None:
            raise UsageError(f"slot_env: {shortage}")
        return settings

    @property
    def ladder(self) -> Ladder:
        """Return the run's graces, shortened to what the host grants. An agent may ask for others (SupervisorState)."""
        return self.fit(self.grace, self.term_grace).ladder

    def fit(self, grace: float, term_grace: float) -> FittedLadder:
        """Return how these graces fit into what the host grants."""
        crowd = max(0, self.workers - FEW_EXECUTORS) * SECONDS_PER_EXECUTOR
        return fit(Ladder(grace, term_grace, self.kill_patience + crowd), self.host_grace)

    @property
    def warning_signals(self) -> Sequence[str]:
        """Return the signals (`SIGUSR1`) that only `stop_on` has stop a run: the host's, before it ends the process."""
        return [f"SIG{name}" for name in self.stop_on or () if name not in STOP_SIGNALS[:3]]

    @property
    def heartbeat(self) -> float:
        """Return the seconds between two heartbeats: one may be lost, and one late, before an executor is silent."""
        return self._within_silence(LONGEST_HEARTBEAT, 1 / 4)

    @property
    def sample_interval(self) -> float:
        """Return the seconds between two samples: a busy executor is sampled twice before it counts as silent."""
        return self._within_silence(LONGEST_SAMPLE, 1 / 8)

    @property
    def idle_sample_interval(self) -> float:
        """Return the seconds between two samples while no task is executed: an idle run wakes seldom."""
        return self._within_silence(LONGEST_IDLE_SAMPLE, 1 / 8)

    @property
    def pause_limit(self) -> float:
        """Return the seconds that the supervisor may lose before it blames no executor for a silence meanwhile."""
        return self._within_silence(LONGEST_LAPSE, 1 / 4)

    def _within_silence(self, longest: float, share: float) -> float:
        return longest if self.heartbeat_timeout is None else min(longest, self.heartbeat_timeout * share)

    @property
    def report_above(self) -> int | None:
        """Return the bytes from which on the size of an executor's tree is wanted, None if it is not."""
        return min((size for size in (self.memory_limit, self.max_memory_per_executor) if size), default=None)
