"""Records between the supervisor and its guardian, in the frames of frames.py. Pure."""

from __future__ import annotations

import msgspec

from runtime.capabilities import Missing
from runtime.ipc.undo import UndoCommand, UndoResult

EXECUTOR_FDS = 5
"""An executor's: tasks (read), control (read), events (write), stdout (write), stderr (write)."""

FDS_PER_EXECUTOR = EXECUTOR_FDS + 2
"""Sent along with Fork: those, and for the guardian itself the other ends of stdout and stderr (stdio.py)."""


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """Base of the records between supervisor and guardian."""


class ProcessTraits(_Record, frozen=True):
    """What a package like multiprocessing knows of the process that it was imported in.

    `name` and `authkey` are `current_process()`'s. The rest is None where it was not set.
    """

    name: str
    authkey: bytes
    original_dir: bytes | None = None
    start_method: str | None = None
    log_level: int | None = None
    log_to_stderr: bool = False


class Inheritance(_Record, frozen=True):
    """What executors take over from the supervisor's interpreter (inheritance.py); text is encoded there."""

    pid: int
    sys_path: list[bytes]
    argv: list[bytes]
    cwd: bytes
    packages: dict[str, ProcessTraits]


class GuardianSettings(_Record, frozen=True):
    """What the guardian reads, in msgpack, from the anonymous file that is its standard input.

    Not from its arguments or environment, which others can see: an authkey is among it. And it may be of any size.

    `grace` and `term_grace` in seconds are for the day it is the heir. An executor shows a sign of life every
    `heartbeat` seconds. The guardian sends a MemoryReport when the RSS of an executor's tree is more than
    `report_above` bytes. `mark` is that of run_mark.py. `pydantic_plugins` is what PYDANTIC_DISABLE_PLUGINS was, and is
    to be again. `slot_env`: values of environment variables, one for each slot. `warning_signals`: names of signals
    that stop the run, and that a host may send to each of its processes; only the supervisor acts on them.
    """

    run_id: str
    slots: int
    flag_fd: int
    socket_fd: int
    wake_read_fd: int
    wake_write_fd: int
    concurrency: int
    grace: float
    term_grace: float
    heartbeat: float
    inheritance: Inheritance
    keep_children: bool = False
    report_above: int | None = None
    leaf: str | None = None
    mark: int = 0
    pydantic_plugins: str | None = None
    slot_env: dict[str, list[str]] = {}
    warning_signals: list[str] = []


PLUGINS_VARIABLE = "PYDANTIC_DISABLE_PLUGINS"
"""Is set while the guardian loads: looking for plugins, in every package that is installed, is a tenth of its start."""


class Fork(_Record, frozen=True, tag=1):
    """Start an executor; FDS_PER_EXECUTOR descriptors come with the frame's first byte (SCM_RIGHTS).

    `pipe_key` is in every frame on its pipes (frames.py).
    """

    slot: int
    incarnation: int
    pipe_key: int


class Signal(_Record, frozen=True, tag=2):
    """Signal an executor.

    STACK_DUMP_SIGNAL: have it write its Python stacks, by that signal only if it runs no Python code.
    SIGTERM: mark the TERM rung in the flag, ask for the stacks if there was a grace, then SIGTERM and SIGCONT.
    """

    slot: int
    incarnation: int
    signum: int


class KillTree(_Record, frozen=True, tag=3):
    """SIGKILL an executor and all its descendants."""

    slot: int
    incarnation: int


class Sweep(_Record, frozen=True, tag=4):
    """End every process that is left, waiting `until` then (monotonic seconds), answer with a SweepReport, and exit."""

    until: float


class Graces(_Record, frozen=True, tag=5):
    """In seconds, for the day the guardian is the heir: an agent has been loaded that needs longer than the run's."""

    grace: float
    term_grace: float


class Halt(_Record, frozen=True, tag=6):
    """Stop every process below the guardian by SIGSTOP, and answer with a HaltedReport: the supervisor stops next."""


class Continue(_Record, frozen=True, tag=7):
    """Continue those that Halt has stopped."""


class HoldUndo(_Record, frozen=True, tag=9):
    """Keep an undo record of a task for the day the guardian is the heir; answer with an UndoKeptReport.

    `slot` and `incarnation` are the executor's that has made the resource; -1 for none that is alive.
    """

    number: int
    slot: int
    incarnation: int
    command: UndoCommand
    tries: int = 0
    task: int = 0


class RunUndo(_Record, frozen=True, tag=20):
    """Start the command of a record, for the `tries`-th time; answered by an UndoReport."""

    number: int
    command: UndoCommand
    tries: int = 1


class DropUndo(_Record, frozen=True, tag=21):
    """Forget an undo record: it is struck out."""

    number: int


class UndoJournal(_Record, frozen=True, tag=22):
    """Say where the heir is to write what it has undone: `argv` starts the program that does.

    It reads an UndoReceipt from its standard input.
    """

    argv: list[bytes]
    location: bytes
    run: int


class UndoReceipt(_Record, frozen=True):
    """What the heir of a dead supervisor has done, for the journal: results by number of the record, and tries."""

    location: bytes
    run: int
    results: list[tuple[int, int, UndoResult]]


class UndoKeptReport(_Record, frozen=True, tag=23):
    """The guardian holds an undo record."""

    number: int


class UndoReport(_Record, frozen=True, tag=24):
    """One start of an undo command has ended."""

    number: int
    result: UndoResult


class HaltedReport(_Record, frozen=True, tag=17):
    """The answer to Halt: how many processes were stopped."""

    count: int


class Ping(_Record, frozen=True, tag=8):
    """Answer with a Pong of this number."""

    number: int


class Pong(_Record, frozen=True, tag=18):
    """The guardian's loop turns."""

    number: int


class ReadyReport(_Record, frozen=True, tag=16):
    """The guardian is ready. `containment`: by what it holds on to processes, the best first.

    `sentinel`: the pid of the second line (sentinel.py), 0 where there is none. `missing`: what the host does not give.
    """

    pid: int
    containment: list[str]
    sentinel: int = 0
    missing: list[Missing] = []


class ForkedReport(_Record, frozen=True, tag=11):
    """An executor process exists."""

    slot: int
    incarnation: int
    pid: int


class ExitedReport(_Record, frozen=True, tag=12):
    """An executor is gone and reaped. `code` is the exit code, negative = minus the signal; RSS in bytes."""

    slot: int
    incarnation: int
    pid: int
    code: int
    seconds: float
    max_rss: int


class MemoryReport(_Record, frozen=True, tag=15):
    """The RSS of an executor and its descendants, in bytes, is above `report_above`. Shared pages count for each."""

    slot: int
    incarnation: int
    pid: int
    rss: int


class StraysReport(_Record, frozen=True, tag=13):
    """What an executor left behind is being ended; each as `pid (command)`."""

    slot: int
    incarnation: int
    found: list[str]


class SweepReport(_Record, frozen=True, tag=14):
    """The end: how many processes were still found, how many were ended, which could not be, and (some of) which."""

    found: int
    ended: int
    remaining: list[str]
    processes: list[str] = []


UndoOrder = HoldUndo | RunUndo | DropUndo | UndoJournal
Order = Fork | Signal | KillTree | Sweep | Graces | Halt | Continue | Ping | UndoOrder
Report = (
    ReadyReport
    | Pong
    | ForkedReport
    | ExitedReport
    | MemoryReport
    | StraysReport
    | SweepReport
    | HaltedReport
    | UndoKeptReport
    | UndoReport
)
